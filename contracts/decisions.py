"""Turns what reviewers may say of a creative into names: kinds, reasons with their keys, roles and statuses."""

from __future__ import annotations

from enum import StrEnum

COMMENT_LIMIT = 2000
"""Characters of a comment at most."""


class Kind(StrEnum):
    """What a row of the log of decisions says."""

    APPROVE = "approve"
    REJECT = "reject"
    RATING = "rating"
    COMMENT = "comment"
    PAIRWISE = "pairwise"
    UNDO = "undo"


class Reason(StrEnum):
    """Why a creative is rejected. Each has a `key` that chooses it, a `label` and a `description`."""

    key: str
    label: str
    description: str

    def __new__(cls, value: str, key: str = "", description: str = "") -> Reason:
        """A member whose value is its code."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.key, member.label, member.description = key, value.replace("_", " "), description
        return member

    TOO_DARK = "too_dark", "d", "the scene is too dark to be seen at a glance"
    ILLEGIBLE = "illegible", "i", "the headline or the button is hard to read"
    OFF_BRAND = "off_brand", "b", "colours or manner do not fit the advertiser"
    PRODUCT_HIDDEN = "product_hidden", "p", "the product is covered, cut off or too small"
    UNSAFE = "unsafe", "u", "offensive, misleading, or not allowed for its audience"
    LOOKS_FAKE = "looks_fake", "f", "artefacts give it away as made by a machine"
    DUPLICATE = "duplicate", "c", "another creative already says and shows the same"
    WRONG_MESSAGE = "wrong_message", "w", "picture and words do not belong together, or say something wrong"
    OTHER = "other", "o", "none of these; say it in a comment"


class Role(StrEnum):
    """What an account may do; each may do what the ones before it may.

    A viewer looks. A reviewer decides. An approver also gives the one approval that a sensitive concept cannot do
    without, overrules another's rejection, and approves in batches.
    """

    VIEWER = "viewer"
    REVIEWER = "reviewer"
    APPROVER = "approver"

    @property
    def rank(self) -> int:
        """0 for the one that may least."""
        return list(Role).index(self)


class Status(StrEnum):
    """Where a creative stands, from the decisions on the very bytes of its file."""

    PENDING = "pending"
    WAITING = "waiting"
    APPROVED = "approved"
    REJECTED = "rejected"
    STALE = "stale"

    @property
    def meaning(self) -> str:
        """In words."""
        return _MEANINGS[self]


_MEANINGS = {
    Status.PENDING: "nobody has decided",
    Status.WAITING: "sensitive: waits for the approval of another person, one of them an approver",
    Status.APPROVED: "approved as it is",
    Status.REJECTED: "rejected",
    Status.STALE: "was approved, but the file has changed since: decide again",
}
