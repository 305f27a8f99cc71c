"""Turns the review database into SQLAlchemy tables; migrations/ makes them, and keeps decisions append-only."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.types import TypeDecorator


class Instant(TypeDecorator[datetime]):
    """A moment in UTC with microseconds; SQLite, which has no time zones, holds it without one."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Into UTC."""
        if value is None:
            return None
        moment = value.astimezone(UTC)
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Back as UTC."""
        if value is None:
            return None
        moment: datetime = value
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


METADATA = MetaData()

_KEY = BigInteger().with_variant(Integer(), "sqlite")

DECISIONS = Table(
    "decisions",
    METADATA,
    Column("id", _KEY, primary_key=True, autoincrement=True),
    Column("at", Instant, nullable=False),
    Column("reviewer", String(100), nullable=False),
    Column("role", String(20), nullable=False),
    Column("run_id", String(200), nullable=False),
    Column("creative_id", String(200), nullable=False),
    Column("file_hash", String(64), nullable=False),
    Column("kind", String(20), nullable=False),
    Column("reason", String(40)),
    Column("rating", Integer),
    Column("comment", Text),
    Column("other_creative_id", String(200)),
    Column("other_file_hash", String(64)),
    Column("undoes", _KEY, ForeignKey("decisions.id"), unique=True),
    Column("batch", String(64)),
    Column("request", String(64)),
    Index("decisions_of_creative", "run_id", "creative_id"),
    Index("decisions_of_request", "reviewer", "request"),
    sqlite_autoincrement=True,
)
"""The log of decisions; `request` is the token of the click that made a row, so that a repeated click makes no second."""

ACCOUNTS = Table(
    "accounts",
    METADATA,
    Column("name", String(100), primary_key=True),
    Column("password_hash", Text, nullable=False),
    Column("role", String(20), nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("closed_at", Instant),
)

SESSIONS = Table(
    "sessions",
    METADATA,
    Column("token_hash", String(64), primary_key=True),
    Column("name", String(100), ForeignKey("accounts.name", ondelete="CASCADE"), nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("seen_at", Instant, nullable=False),
)
"""Who is signed in; only the hash of a cookie's token is kept."""

LOGIN_ATTEMPTS = Table(
    "login_attempts",
    METADATA,
    Column("id", _KEY, primary_key=True, autoincrement=True),
    Column("at", Instant, nullable=False),
    Column("name", String(100), nullable=False),
    Column("address", String(64), nullable=False),
    Column("passed", Integer, nullable=False),
    Index("attempts_by_time", "at"),
)

AUDIT = Table(
    "audit",
    METADATA,
    Column("id", _KEY, primary_key=True, autoincrement=True),
    Column("at", Instant, nullable=False),
    Column("who", String(100), nullable=False),
    Column("address", String(64), nullable=False),
    Column("what", String(40), nullable=False),
    Column("detail", Text, nullable=False),
)
"""Sign-ins, refusals, accounts, batches, exports: append-only too."""

VIEWS = Table(
    "views",
    METADATA,
    Column("id", _KEY, primary_key=True, autoincrement=True),
    Column("owner", String(100), nullable=False),
    Column("name", String(100), nullable=False),
    Column("query", Text, nullable=False),
    UniqueConstraint("owner", "name", name="one_view_per_name"),
)
"""Filters that a reviewer keeps under a name."""
