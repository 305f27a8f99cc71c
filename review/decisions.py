"""Turns what reviewers say into rows of an append-only log, and the log into where every creative stands."""

from __future__ import annotations

import secrets
import threading
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any

import polars as pl
from sqlalchemy import Connection, Row, func, insert, select

from contracts.decisions import COMMENT_LIMIT, Kind, Reason, Role
from contracts.errors import DataError
from contracts.tables import Decisions, polars_schema
from review.database import Database
from review.schema import DECISIONS
from review.standing import Decision, Standing, standing_of

_COLUMNS = list(polars_schema(Decisions))
_ROW = [DECISIONS.c.id.label("decision_id"), *(DECISIONS.c[name] for name in _COLUMNS if name != "decision_id")]


@dataclass(frozen=True, slots=True)
class Said:
    """What somebody says of a creative, before it is recorded.

    Attributes:
        file_hash: sha256 of the picture that was seen.
        reason: of a rejection. rating: 1-5. comment: at most COMMENT_LIMIT characters.
        other_creative_id, other_file_hash: of a pair, the one that was not preferred.
    """

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


@dataclass(frozen=True, slots=True)
class Subject:
    """A creative as it is now: what its standing depends on beside the log."""

    run_id: str
    creative_id: str
    file_hash: str
    sensitive: bool


class DecisionLog:
    """The log of decisions. Rows are only added; what counts now is worked out from them."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._last = 0
        self._of: dict[tuple[str, str], list[Decision]] = defaultdict(list)
        self._by: dict[str, list[Decision]] = defaultdict(list)
        self._undone: set[int] = set()
        self._touched: list[tuple[int, tuple[str, str]]] = []
        self._worked_out: dict[tuple[str, str], tuple[str, bool, Standing]] = {}

    def record(self, said: Said, *, request: str | None = None) -> Decision:
        """Writes one decision down. See `record_all`."""
        return self.record_all([said], request=request)[0]

    def record_all(self, said: Sequence[Said], *, request: str | None = None) -> list[Decision]:
        """Writes decisions down, all or none; more than one share a `batch`.

        Args:
            said: by one reviewer.
            request: token of the click; the same reviewer's second call with it finds the first one's rows and adds none.

        Raises:
            DataError: a decision is not whole (lists every fault of the first such one); nothing is written.
            RunError: the database is held by another process, or does not answer; nothing is written.
        """
        for one in said:
            _check(one)
        if not said:
            return []
        batch = secrets.token_hex(8) if len(said) > 1 else None
        now = datetime.now(UTC)
        with self._database.writing() as connection:
            repeated = _made_by(connection, said[0].reviewer, request)
            if repeated:
                return repeated
            rows = [{**_fields(one), "at": now, "batch": batch, "request": request} for one in said]
            return _append(connection, rows)

    def undo(
        self, reviewer: str, role: Role, *, run_id: str | None = None, request: str | None = None
    ) -> list[Decision]:
        """Takes back the reviewer's last decision that still counts, or the whole batch it belongs to.

        Args:
            run_id: only decisions of this run.
            request: as in `record_all`.

        Returns:
            The undo rows; empty when there is nothing left to take back.
        """
        with self._database.writing() as connection:
            repeated = _made_by(connection, reviewer, request)
            if repeated:
                return repeated
            undone = select(DECISIONS.c.undoes).where(DECISIONS.c.undoes.is_not(None))
            open_ones = (
                select(*_ROW)
                .where(DECISIONS.c.reviewer == reviewer, DECISIONS.c.kind != Kind.UNDO, DECISIONS.c.id.not_in(undone))
                .order_by(DECISIONS.c.id.desc())
            )
            if run_id is not None:
                open_ones = open_ones.where(DECISIONS.c.run_id == run_id)
            last = connection.execute(open_ones.limit(1)).one_or_none()
            if last is None:
                return []
            together = [last]
            if last.batch is not None:
                together = list(connection.execute(open_ones.where(DECISIONS.c.batch == last.batch)))
            batch = secrets.token_hex(8) if len(together) > 1 else None
            rows = [
                {
                    "reviewer": reviewer,
                    "role": role,
                    "run_id": row.run_id,
                    "creative_id": row.creative_id,
                    "file_hash": row.file_hash,
                    "kind": Kind.UNDO,
                    "undoes": row.decision_id,
                    "at": datetime.now(UTC),
                    "batch": batch,
                    "request": request,
                }
                for row in reversed(together)
            ]
            return _append(connection, rows)

    def standings(self, subjects: Iterable[Subject]) -> list[Standing]:
        """Where each creative stands, in the order given."""
        with self._lock:
            self._catch_up()
            return [self._standing(subject) for subject in subjects]

    def changed(self, since: int) -> tuple[int, set[tuple[str, str]]]:
        """Of what `standings` goes by: the id of the newest row that was read, and the (run, creative) of rows after `since`."""
        with self._lock:
            self._catch_up()
            first = bisect_right(self._touched, since, key=itemgetter(0))
            return self._last, {key for _, key in self._touched[first:]}

    def history(self, run_id: str, creative_id: str) -> list[Decision]:
        """Every row on a creative in order, undone ones and undos included, and pairs that it lost."""
        with self._lock:
            self._catch_up()
            return list(self._of.get((run_id, creative_id), ()))

    def verdicts(self, reviewer: str) -> list[Decision]:
        """One person's approvals and rejections that were not undone, in order."""
        with self._lock:
            self._catch_up()
            return [one for one in self._by[reviewer] if one.decision_id not in self._undone]

    def table(self, run_id: str | None = None) -> pl.DataFrame:
        """All rows, or those of one run, as the table `decisions` of the contracts."""
        query = select(*_ROW).order_by(DECISIONS.c.id)
        if run_id is not None:
            query = query.where(DECISIONS.c.run_id == run_id)
        with self._database.reading() as connection:
            rows = [dict(row._mapping) for row in connection.execute(query)]
        return Decisions.validate(pl.DataFrame(rows, schema=polars_schema(Decisions), orient="row"))

    def last_id(self) -> int:
        """Of the newest row; 0 when there is none."""
        with self._database.reading() as connection:
            return int(connection.execute(select(func.coalesce(func.max(DECISIONS.c.id), 0))).scalar_one())

    def _catch_up(self) -> None:
        """Reads what was added since the last look; writers come one after another, so that no lower id appears later."""
        query = select(*_ROW).where(DECISIONS.c.id > self._last).order_by(DECISIONS.c.id)
        with self._database.reading() as connection:
            for row in connection.execute(query):
                one = _decision(row)
                names = [one.creative_id] + ([one.other_creative_id] if one.other_creative_id else [])
                for name in names:
                    self._of[one.run_id, name].append(one)
                    self._worked_out.pop((one.run_id, name), None)
                    self._touched.append((one.decision_id, (one.run_id, name)))
                if one.kind in {Kind.APPROVE, Kind.REJECT}:
                    self._by[one.reviewer].append(one)
                elif one.undoes is not None:
                    self._undone.add(one.undoes)
                self._last = one.decision_id

    def _standing(self, subject: Subject) -> Standing:
        key = (subject.run_id, subject.creative_id)
        held = self._worked_out.get(key)
        if held is not None and held[:2] == (subject.file_hash, subject.sensitive):
            return held[2]
        rows = [row for row in self._of.get(key, ()) if row.creative_id == subject.creative_id]
        found = standing_of(rows, subject.file_hash, sensitive=subject.sensitive)
        self._worked_out[key] = (subject.file_hash, subject.sensitive, found)
        return found


def _check(said: Said) -> None:
    """Raises DataError that lists every fault."""
    faults = []
    if not said.reviewer:
        faults.append("it names no reviewer")
    if said.role is Role.VIEWER:
        faults.append("a viewer decides nothing")
    if said.kind is Kind.UNDO:
        faults.append("an undo is made by undo()")
    needed = {Kind.REJECT: "reason", Kind.RATING: "rating", Kind.COMMENT: "comment", Kind.PAIRWISE: "other_creative_id"}
    want = needed.get(said.kind)
    if want is not None and not getattr(said, want):
        faults.append(f"a {said.kind} needs a {want.replace('_', ' ')}")
    if said.reason is not None and said.kind is not Kind.REJECT:
        faults.append("only a rejection has a reason")
    if said.rating is not None and not 1 <= said.rating <= 5:
        faults.append(f"the rating {said.rating} is not between 1 and 5")
    if said.comment is not None and len(said.comment) > COMMENT_LIMIT:
        faults.append(f"the comment has {len(said.comment):,} characters, {COMMENT_LIMIT:,} are allowed")
    if (said.other_creative_id is None) != (said.other_file_hash is None):
        faults.append("a pair needs the id and the file hash of both")
    if said.other_creative_id == said.creative_id:
        faults.append("a picture cannot be compared with itself")
    if faults:
        where = f"decision of {said.reviewer or 'nobody'} on {said.creative_id}"
        raise DataError("; ".join(faults), where=where, fix="Nothing was recorded. Mend it and send it again.")


def _fields(said: Said) -> dict[str, Any]:
    return {name: getattr(said, name) for name in Said.__slots__}


def _append(connection: Connection, rows: list[dict[str, Any]]) -> list[Decision]:
    added = connection.execute(insert(DECISIONS).returning(*_ROW, sort_by_parameter_order=True), rows)
    return [_decision(row) for row in added]


def _made_by(connection: Connection, reviewer: str, request: str | None) -> list[Decision]:
    """Rows that an earlier call with the same token made."""
    if request is None:
        return []
    query = select(*_ROW).where(DECISIONS.c.reviewer == reviewer, DECISIONS.c.request == request)
    return [_decision(row) for row in connection.execute(query.order_by(DECISIONS.c.id))]


def _decision(row: Row[Any]) -> Decision:
    values = Decision(**row._mapping)
    return replace(
        values,
        role=Role(values.role),
        kind=Kind(values.kind),
        reason=None if values.reason is None else Reason(values.reason),
    )
