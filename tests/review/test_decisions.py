"""The log loses nothing, changes nothing, and says where every creative stands."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from contracts.decisions import COMMENT_LIMIT, Kind, Reason, Role, Status
from contracts.errors import DataError, RunError
from review.database import Database, open_database
from review.decisions import DecisionLog, Said, Subject

OLD, NEW = "a" * 64, "b" * 64


def said(kind: Kind, creative: str = "c1", who: str = "ann", role: Role = Role.REVIEWER, **more: object) -> Said:
    values = {"file_hash": OLD, "reason": Reason.UNSAFE if kind is Kind.REJECT else None, **more}
    return Said(reviewer=who, role=role, run_id="r", creative_id=creative, kind=kind, **values)  # type: ignore[arg-type]


def status(log: DecisionLog, creative: str = "c1", file_hash: str = OLD, *, sensitive: bool = False) -> Status:
    return log.standings([Subject("r", creative, file_hash, sensitive)])[0].status


def test_a_verdict_holds_until_it_is_undone_and_every_row_stays(database: Database) -> None:
    log = DecisionLog(database)
    assert status(log) is Status.PENDING
    log.record(said(Kind.APPROVE))
    assert status(log) is Status.APPROVED
    log.record(said(Kind.REJECT))
    assert status(log) is Status.REJECTED
    log.undo("ann", Role.REVIEWER)
    assert status(log) is Status.APPROVED
    log.undo("ann", Role.REVIEWER)
    assert status(log) is Status.PENDING
    assert log.undo("ann", Role.REVIEWER) == []
    table = log.table("r")
    assert table["kind"].to_list() == ["approve", "reject", "undo", "undo"]
    assert table["undoes"].to_list() == [None, None, 2, 1]
    assert DecisionLog(database).table().equals(table)


def test_the_database_itself_refuses_to_change_or_remove_a_decision(database: Database) -> None:
    log = DecisionLog(database)
    log.record(said(Kind.APPROVE))
    statements = ["UPDATE decisions SET reviewer = 'eve'", "DELETE FROM decisions"]
    if database.engine.dialect.name == "postgresql":
        statements.append("TRUNCATE decisions CASCADE")
    for statement in statements:
        with pytest.raises(DBAPIError, match="append-only"), database.engine.begin() as connection:
            connection.execute(text(statement))
    assert log.table()["reviewer"].to_list() == ["ann"]


def test_a_changed_file_voids_its_approval_but_not_that_of_the_old_bytes(database: Database) -> None:
    log = DecisionLog(database)
    log.record(said(Kind.APPROVE))
    assert status(log, file_hash=NEW) is Status.STALE
    assert status(log, file_hash=OLD) is Status.APPROVED
    log.record(said(Kind.REJECT, file_hash=NEW))
    assert status(log, file_hash=NEW) is Status.REJECTED


def test_a_sensitive_concept_needs_two_people_and_an_approver_among_them(database: Database) -> None:
    log = DecisionLog(database)
    log.record(said(Kind.APPROVE, who="ann", role=Role.APPROVER))
    log.record(said(Kind.APPROVE, who="ann", role=Role.APPROVER))
    assert status(log, sensitive=True) is Status.WAITING
    log.record(said(Kind.APPROVE, who="bob"))
    assert status(log, sensitive=True) is Status.APPROVED
    for who in ("ann", "bob"):
        log.record(said(Kind.APPROVE, creative="c2", who=who))
    assert status(log, "c2", sensitive=True) is Status.WAITING, "two reviewers, no approver"


def test_a_rejection_holds_against_others_until_an_approver_overrules_it(database: Database) -> None:
    log = DecisionLog(database)
    log.record(said(Kind.REJECT, who="ann"))
    log.record(said(Kind.APPROVE, who="bob"))
    assert status(log) is Status.REJECTED
    assert log.standings([Subject("r", "c1", OLD, False)])[0].disagreed
    log.record(said(Kind.APPROVE, who="cid", role=Role.APPROVER))
    assert status(log) is Status.APPROVED
    log.record(said(Kind.REJECT, who="dot"))
    assert status(log) is Status.REJECTED, "said after the approver's word"


def test_a_repeated_click_is_recorded_once(database: Database) -> None:
    log = DecisionLog(database)
    first = log.record(said(Kind.APPROVE), request="token")
    assert log.record(said(Kind.APPROVE), request="token") == first
    assert len(log.undo("ann", Role.REVIEWER, request="other")) == 1
    assert len(log.undo("ann", Role.REVIEWER, request="other")) == 1
    assert len(log.table()) == 2


def test_a_batch_is_recorded_whole_or_not_at_all_and_undone_whole(database: Database) -> None:
    log = DecisionLog(database)
    with pytest.raises(DataError, match="Nothing was recorded"):
        log.record_all([said(Kind.APPROVE, "c1"), said(Kind.RATING, "c2", rating=6)])
    assert log.table().is_empty()
    log.record_all([said(Kind.APPROVE, f"c{number}") for number in range(50)])
    assert status(log, "c49") is Status.APPROVED
    assert len(log.undo("ann", Role.REVIEWER)) == 50
    assert status(log, "c49") is Status.PENDING


@pytest.mark.parametrize(
    ("fault", "kind", "more"),
    [
        ("needs a reason", Kind.REJECT, {"reason": None}),
        ("needs a rating", Kind.RATING, {}),
        ("not between 1 and 5", Kind.RATING, {"rating": 9}),
        ("needs a comment", Kind.COMMENT, {}),
        ("10,000,000 characters", Kind.COMMENT, {"comment": "x" * 10_000_000}),
        ("compared with itself", Kind.PAIRWISE, {"other_creative_id": "c1", "other_file_hash": OLD}),
        ("a viewer decides nothing", Kind.APPROVE, {"role": Role.VIEWER}),
    ],
)
def test_half_a_decision_is_refused_with_what_is_wrong(
    tmp_path: Path, fault: str, kind: Kind, more: dict[str, object]
) -> None:
    log = DecisionLog(open_database(f"sqlite:///{tmp_path / 'review.db'}"))
    with pytest.raises(DataError, match=fault):
        log.record(said(kind, **more))  # type: ignore[arg-type]
    assert log.last_id() == 0
    assert COMMENT_LIMIT == 2000


def test_eight_writers_of_two_processes_lose_nothing_and_repeat_nothing(url: str) -> None:
    processes = [open_database(url), open_database(url)]

    def write(person: int) -> None:
        who, log = f"person{person}", DecisionLog(processes[person % 2])
        for number in range(20):
            log.record(said(Kind.APPROVE, f"c{number}", who), request=f"{who}-{number}")

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    watcher = DecisionLog(open_database(url))
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        watcher.standings([])
    for opened in processes:
        opened.close()
    table = watcher.table()
    assert len(table) == len(table.unique(["reviewer", "creative_id"])) == 160
    seen = watcher.standings(Subject("r", f"c{number}", OLD, False) for number in range(20))
    assert [len(one.approved_by) for one in seen] == [8] * 20, "the watcher's incremental reading missed a row"


def test_a_locked_database_is_a_message_and_nothing_is_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("review.database.BUSY_SECONDS", 0.2)
    path = tmp_path / "review.db"
    log = DecisionLog(open_database(f"sqlite:///{path}"))
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(RunError, match="another process holds the database"):
        log.record(said(Kind.APPROVE))
    holder.execute("ROLLBACK")
    log.record(said(Kind.APPROVE))
    assert log.last_id() == 1


def test_a_database_of_a_newer_version_is_refused_and_left_alone(url: str) -> None:
    first = open_database(url)
    DecisionLog(first).record(said(Kind.APPROVE))
    with first.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(RunError, match="a newer Adloom made this database"):
        open_database(url)
    assert DecisionLog(first).last_id() == 1
    first.close()


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("nonsense", "is not a database URL"),
        ("mysql://x/y", "neither SQLite nor PostgreSQL"),
        ("sqlite://", "names no file"),
        ("postgresql://nobody@127.0.0.1:1/none", "does not answer"),
    ],
)
def test_a_wrong_url_is_one_line(url: str, fault: str) -> None:
    with pytest.raises(RunError, match=fault):
        open_database(url)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database at all, but long enough to look at" * 50)
    with pytest.raises(RunError, match="is not a database"):
        open_database(f"sqlite:///{path}")
    assert path.read_text().startswith("not a database")


def test_the_migrations_make_exactly_the_tables_that_the_code_uses(database: Database) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.runtime.migration import MigrationContext

    from review.schema import METADATA

    with database.engine.connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), METADATA)
    assert differences == []
