"""Turns a database URL into a migrated review database: SQLite in WAL mode, or PostgreSQL."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DatabaseError, DBAPIError, IntegrityError, ProgrammingError, SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry

from contracts.errors import RunError

BUSY_SECONDS = 5.0
"""A writer waits so long for another before the page says that the database is busy."""

_MIGRATION_LOCK, _WRITE_LOCK = 7_305_901, 7_305_902


class Database:
    """An engine whose writes come one after another, so that ids of rows rise in the order they become visible."""

    def __init__(self, engine: Engine, name: str) -> None:
        self.engine, self.name = engine, name
        self._turn = threading.Lock()

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection for reading. Raises RunError when the database cannot answer."""
        with self._told(), self.engine.connect() as connection:
            yield connection

    @contextlib.contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that nobody else writes beside; committed at the end, or not at all.

        Raises:
            RunError: another process holds the database for longer than BUSY_SECONDS, or it cannot be written.
        """
        connected = self.engine.connect
        with self._told(), self._turn, connected().execution_options(writes=True) as connection, connection.begin():
            if connection.dialect.name == "postgresql":
                connection.execute(text(f"SET LOCAL lock_timeout = '{int(BUSY_SECONDS * 1000)}ms'"))
                connection.execute(text(f"SELECT pg_advisory_xact_lock({_WRITE_LOCK})"))
            yield connection

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (IntegrityError, ProgrammingError):
            raise
        except DatabaseError as error:
            raise _refusal(error, self.name) from error

    def close(self) -> None:
        """Gives every connection back."""
        self.engine.dispose()


def open_database(url: str) -> Database:
    """Opens a database and brings it to today's version; a SQLite file is made when it is not there.

    Args:
        url: `sqlite:///path/to/review.db` or `postgresql+psycopg://user@host/name`.

    Raises:
        RunError: the URL is not one, the database cannot be reached or written, is locked, is not a review database,
            or a newer Adloom made it.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise RunError("is not a database URL", where=url, fix=_EXAMPLES) from error
    if parsed.drivername == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    name = parsed.render_as_string(hide_password=True)
    if parsed.get_backend_name() == "sqlite":
        if not parsed.database or parsed.database == ":memory:":
            raise RunError("names no file: decisions must outlive the process", where=name, fix=_EXAMPLES)
        name = parsed.database
    elif parsed.get_backend_name() != "postgresql":
        raise RunError("is neither SQLite nor PostgreSQL", where=name, fix=_EXAMPLES)
    try:
        engine = _engine(parsed)
    except ImportError as error:
        raise RunError("PostgreSQL needs psycopg", where=name, fix="Install the extra adloom[postgres].") from error
    database = Database(engine, name)
    try:
        _migrate(database)
    except SQLAlchemyError as error:
        database.close()
        raise _refusal(error, name) from error
    except RunError:
        database.close()
        raise
    return database


_EXAMPLES = "Give sqlite:///data/review.db or postgresql+psycopg://user@host/name."


def _engine(url: Any) -> Engine:
    if url.get_backend_name() != "sqlite":
        return create_engine(url, pool_pre_ping=True, pool_size=10, max_overflow=20)
    path = Path(url.database)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"cannot be made ({error.strerror})", where=str(path.parent), fix=_EXAMPLES) from error
    engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS})

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _: ConnectionPoolEntry) -> None:
        connection.isolation_level = None  # transactions begin where begin() says, not where the driver guesses
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _migrate(database: Database) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    script = ScriptDirectory.from_config(config)
    newest = script.get_current_head()
    known = {one.revision for one in script.walk_revisions()}
    with database.writing() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})"))
        held = MigrationContext.configure(connection).get_current_revision()
        if held is not None and held not in known:
            raise RunError(
                f"a newer Adloom made this database (version {held}, this one knows up to {newest})",
                where=database.name,
                fix="Update Adloom, or give another database with --database.",
            )
        if held != newest:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")


def _refusal(error: SQLAlchemyError, name: str) -> RunError:
    said = " ".join(str(error.orig if isinstance(error, DBAPIError) else error).split())
    if "locked" in said or "lock timeout" in said:
        return RunError(
            "another process holds the database", where=name, fix="Nothing was recorded. Try again in a moment."
        )
    if "readonly" in said:
        return RunError("cannot be written", where=name, fix="Give its owner the right to write, or --database.")
    if "not a database" in said:
        return RunError("is not a database", where=name, fix="Give another file with --database.")
    return RunError(f"the database does not answer ({said[:200]})", where=name, fix="See that it runs and may be used.")
