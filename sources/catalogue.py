"""Turns the name of a check into what it means, how bad it is, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Check:
    """One kind of fault.

    Attributes:
        severity: an error sets the row aside; a warning keeps it and is counted.
        meaning: one sentence on what is wrong.
        fix: what to do about it.
        can_be_tolerated: the row is sound in itself, so the settings may turn the error into a warning.
    """

    severity: Severity
    meaning: str
    fix: str
    can_be_tolerated: bool = False


CHECKS: dict[str, Check] = {
    # schema
    "unreadable_row": Check(
        "error", "The line is no row: broken quotes or JSON, a wrong number of fields, not UTF-8.",
        "Write the file again, or mend the lines that are named."),
    "missing_value": Check("error", "A value that every row needs is missing or empty.", "Fill it where the log is made."),
    "wrong_type": Check(
        "error", "A value cannot be read as what its column holds.", "Write it as due, or name its unit in mapping.toml."),
    "local_time": Check(
        "error", "A time has no UTC offset, or does not exist or exists twice in its time zone.",
        "Write times in UTC, or name time_zone in mapping.toml."),
    "unknown_action": Check("error", "The action is none of ours.", "Name it under actions in mapping.toml."),
    # range
    "out_of_range": Check("error", "A number lies outside what its column allows.", "Mend it where the log is made."),
    "implausible_time": Check(
        "error", "The time lies before 1970 or after 2199.", "Name the right time_unit in mapping.toml."),
    "propensity_range": Check(
        "error", "A propensity is not in (0, 1].", "Log the chance of the choice at the moment it is made."),
    "reserved_name": Check("error", "The user id is *, which stands for everyone.", "Give that user another id."),
    "bad_window": Check("error", "A concept's active window ends before it begins.", "Swap or mend the two times."),
    "bad_box": Check("error", "A product box is incomplete, empty or outside its picture.", "Give all four shares."),
    "missing_picture": Check(
        "error", "The picture named is not a file inside the data folder.", "Copy it there, or mend the path."),
    # key
    "repeated_id": Check(
        "error", "A row with this id is there already and is equal: it was delivered twice.",
        "Nothing to do: the first was kept. Many of them point at a sender that retries."),
    "conflicting_id": Check(
        "error", "A row with this id is there already and says something else.", "Make ids unique where they are given."),
    "repeated_event": Check(
        "error", "The same user, moment, action and item are there already.",
        "Nothing to do: the first was kept. Log times in milliseconds if these are different events.", True),
    # referential
    "unknown_concept": Check("error", "The concept is not among the accepted concepts.", "Add it to concepts."),
    "unknown_user": Check("error", "The user is in neither events nor users.", "Add the user to users."),
    "click_without_impression": Check(
        "error", "A click names an impression that is not in the log.", "Look for lost impressions or injected clicks."),
    "unlisted_user": Check(
        "warning", "The user is not in the users table, so there is no consent: the row is left out.",
        "Add the user to users, with personalise true or false."),
    # time travel and clocks
    "click_before_impression": Check(
        "error", "A click is older than its impression.", "Compare the clocks of the two senders.", True),
    "shown_outside_window": Check(
        "error", "A concept was shown before active_from or at or after active_until.",
        "Mend the window, or find out who showed it.", True),
    "from_the_future": Check("error", "The time is later than now.", "Set the sender's clock.", True),
    "clock_skew": Check(
        "error", "The time lies well beyond the day of its file.", "Set the sender's clock, or file it under its day.", True),
    "too_late": Check(
        "error", "The row is older than the day of its file by more than the window for late rows.",
        "Raise sources.late_days, or add the row to the files of its own day.", True),
    # behaviour
    "bot": Check(
        "error", "The user made more rows in one minute than a person makes.",
        "Leave it, or raise sources.max_user_rows_per_minute.", True),
    # propensities
    "slate_sum": Check(
        "error", "Propensities of one slot of one slate sum to more than 1, which no choice can have.",
        "Give each slate its own time or each slot its own number.", True),
    "partial_propensity": Check(
        "warning", "Some rows of a slate have a propensity and others have none: the slate has no weight.",
        "Log the propensity of every slot."),
    "mixed_policy": Check(
        "warning", "Rows of one slate name different policies.", "Give each slate its own time, or one policy."),
    "small_propensities": Check(
        "warning", "On average one over the propensity exceeds the number of concepts: the chances cannot sum to 1.",
        "Log the chance of the concept in its slot, not of the whole slate."),
    "empty_file": Check(
        "warning", "A file of a table of several files has no rows: the day is empty, or has not come yet.",
        "Deliver it again if it should have some; sources.empty_files says whether one of 0 bytes stops the run."),
    "shifted_hours": Check(
        "warning", "Events and impressions keep the same hours only when one is shifted by whole hours.",
        "Name the time_zone of the one that is shifted in mapping.toml."),
}  # fmt: skip


def tolerable() -> tuple[str, ...]:
    """Names of the checks that the settings may turn into warnings."""
    return tuple(name for name, check in CHECKS.items() if check.can_be_tolerated)
