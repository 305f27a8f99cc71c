"""Turns the decisions on one creative, and the hash of its file, into where it stands."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from contracts.decisions import Kind, Reason, Role, Status

APPROVALS_IF_SENSITIVE = 2
"""Different people who must approve a creative of a sensitive concept."""


@dataclass(frozen=True, slots=True)
class Decision:
    """A row of the log, as `contracts.tables.Decisions` describes it."""

    decision_id: int
    at: datetime
    reviewer: str
    role: Role
    run_id: str
    creative_id: str
    file_hash: str
    kind: Kind
    reason: Reason | None = None
    rating: int | None = None
    comment: str | None = None
    other_creative_id: str | None = None
    other_file_hash: str | None = None
    undoes: int | None = None
    batch: str | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a creative stands.

    Attributes:
        status: see `Status.meaning`.
        approved_by, rejected_by: whose word that is now, on this file; the reason beside each rejection.
        disagreed: people say opposite things of the same file.
        rating: mean of each person's last rating of this file, 1-5; None where nobody rated.
        comments: how many there are, of any version.
        reviewers: everybody who said anything.
        last_at: of the last decision that counts; None where there is none.
    """

    status: Status = Status.PENDING
    approved_by: tuple[str, ...] = ()
    rejected_by: tuple[tuple[str, Reason], ...] = ()
    disagreed: bool = False
    rating: float | None = None
    comments: int = 0
    reviewers: frozenset[str] = frozenset()
    last_at: datetime | None = None


def standing_of(decisions: Iterable[Decision], file_hash: str, *, sensitive: bool) -> Standing:
    """Where a creative stands.

    Each person's last approval or rejection of these very bytes counts, unless undone. A rejection holds until whoever
    made it changes it, or an approver approves afterwards. Without one, an approval approves; a sensitive concept needs
    `APPROVALS_IF_SENSITIVE` people, at least one of them an approver. Approvals of other bytes count for nothing.

    Args:
        decisions: all rows on this creative, in order.
        file_hash: sha256 of its picture as it is now.
        sensitive: of its concept.
    """
    rows = list(decisions)
    if not rows:
        return Standing()
    undone = {row.undoes for row in rows if row.kind is Kind.UNDO}
    rows = [row for row in rows if row.kind is not Kind.UNDO and row.decision_id not in undone]
    verdicts: dict[str, Decision] = {}
    ratings: dict[str, int] = {}
    for row in rows:
        if row.file_hash != file_hash:
            continue
        if row.kind in {Kind.APPROVE, Kind.REJECT}:
            verdicts[row.reviewer] = row
        elif row.rating is not None:
            ratings[row.reviewer] = row.rating
    approvals = [row for row in verdicts.values() if row.kind is Kind.APPROVE]
    rejections = [row for row in verdicts.values() if row.kind is Kind.REJECT]
    outdated = any(row.kind is Kind.APPROVE and row.file_hash != file_hash for row in rows)
    return Standing(
        status=_status(approvals, rejections, sensitive=sensitive, outdated=outdated),
        approved_by=tuple(row.reviewer for row in approvals),
        rejected_by=tuple((row.reviewer, row.reason or Reason.OTHER) for row in rejections),
        disagreed=bool(approvals and rejections),
        rating=sum(ratings.values()) / len(ratings) if ratings else None,
        comments=sum(row.comment is not None for row in rows),
        reviewers=frozenset(row.reviewer for row in rows),
        last_at=rows[-1].at if rows else None,
    )


def _status(approvals: list[Decision], rejections: list[Decision], *, sensitive: bool, outdated: bool) -> Status:
    overruled_at = max((row.decision_id for row in approvals if row.role is Role.APPROVER), default=0)
    if any(row.decision_id > overruled_at for row in rejections):
        return Status.REJECTED
    if not approvals:
        return Status.STALE if outdated else Status.PENDING
    if sensitive and (len(approvals) < APPROVALS_IF_SENSITIVE or not overruled_at):
        return Status.WAITING
    return Status.APPROVED
