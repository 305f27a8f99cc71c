"""Turns where creatives stand into which may leave the house, and what stands against those that once might."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from contracts.decisions import Kind, Status
from review.standing import Decision, Standing


@dataclass(frozen=True)
class Candidate:
    """A creative that somebody may have approved.

    Attributes:
        creative_id: which.
        standing: from the decisions, on the file as it is now.
        decisions: all rows on it, in order.
        checks: names of the checks that it fails.
        altered: files of it that are missing, or not what the run wrote.
        sensitive: of its concept.
    """

    creative_id: str
    standing: Standing
    decisions: tuple[Decision, ...]
    checks: tuple[str, ...] = ()
    altered: tuple[str, ...] = ()
    sensitive: bool = False


@dataclass(frozen=True)
class Objection:
    """Why an approved creative may not leave: `code` for machines, `why` in words."""

    creative_id: str
    code: str
    why: str


def clear(candidates: Iterable[Candidate]) -> tuple[list[str], list[Objection]]:
    """The creatives that may be exported, and what stands against those that were approved but may not.

    A creative that nobody approved, or that was rejected, is in neither.
    """
    free: list[str] = []
    objections: list[Objection] = []
    for one in candidates:
        found = objection_of(one)
        if found is not None:
            objections.append(found)
        elif one.standing.status is Status.APPROVED:
            free.append(one.creative_id)
    return free, objections


def objection_of(one: Candidate) -> Objection | None:
    """The first thing that stands against an approved creative; None where nothing does, or it was never approved."""
    status, given = one.standing.status, len(one.standing.approved_by)
    approved = status is Status.APPROVED
    found = (
        (status is Status.STALE, "file_changed", "the picture has changed since it was approved: decide again"),
        (
            status is Status.WAITING,
            "second_approval",
            f"its advertiser is sensitive: {given} of 2 approvals, one of them an approver's",
        ),
        (
            status is Status.PENDING and _was_taken_back(one.decisions),
            "undone",
            "its approval was taken back: decide again",
        ),
        (approved and bool(one.checks), "check_failed", f"it fails {', '.join(one.checks)}"),
        (approved and bool(one.altered), "files_altered", f"{', '.join(one.altered)}: not what the run wrote"),
    )
    return next((Objection(one.creative_id, code, why) for holds, code, why in found if holds), None)


def _was_taken_back(decisions: Iterable[Decision]) -> bool:
    """Whether the last that was said of it is that an approval is undone."""
    rows = list(decisions)
    undone = {row.undoes for row in rows if row.kind is Kind.UNDO}
    return any(row.kind is Kind.APPROVE and row.decision_id in undone for row in rows)
