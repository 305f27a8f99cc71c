"""Turns an empty database into the log of decisions, accounts, sessions, the audit log, and saved views."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from review.schema import Instant

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
APPEND_ONLY = ("decisions", "audit")


def upgrade() -> None:
    """Makes every table, and lets nobody change or remove a row of the append-only ones."""
    op.create_table(
        "decisions",
        sa.Column("id", _KEY, primary_key=True, autoincrement=True),
        sa.Column("at", Instant, nullable=False),
        sa.Column("reviewer", sa.String(100), nullable=False),
        sa.Column("role", sa.String(20), nullable=False),
        sa.Column("run_id", sa.String(200), nullable=False),
        sa.Column("creative_id", sa.String(200), nullable=False),
        sa.Column("file_hash", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("reason", sa.String(40)),
        sa.Column("rating", sa.Integer),
        sa.Column("comment", sa.Text),
        sa.Column("other_creative_id", sa.String(200)),
        sa.Column("other_file_hash", sa.String(64)),
        sa.Column("undoes", _KEY, sa.ForeignKey("decisions.id"), unique=True),
        sa.Column("batch", sa.String(64)),
        sa.Column("request", sa.String(64)),
        sqlite_autoincrement=True,
    )
    op.create_index("decisions_of_creative", "decisions", ["run_id", "creative_id"])
    op.create_index("decisions_of_request", "decisions", ["reviewer", "request"])
    op.create_table(
        "accounts",
        sa.Column("name", sa.String(100), primary_key=True),
        sa.Column("password_hash", sa.Text, nullable=False),
        sa.Column("role", sa.String(20), nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("closed_at", Instant),
    )
    op.create_table(
        "sessions",
        sa.Column("token_hash", sa.String(64), primary_key=True),
        sa.Column("name", sa.String(100), sa.ForeignKey("accounts.name", ondelete="CASCADE"), nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("seen_at", Instant, nullable=False),
    )
    op.create_table(
        "login_attempts",
        sa.Column("id", _KEY, primary_key=True, autoincrement=True),
        sa.Column("at", Instant, nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("address", sa.String(64), nullable=False),
        sa.Column("passed", sa.Integer, nullable=False),
    )
    op.create_index("attempts_by_time", "login_attempts", ["at"])
    op.create_table(
        "audit",
        sa.Column("id", _KEY, primary_key=True, autoincrement=True),
        sa.Column("at", Instant, nullable=False),
        sa.Column("who", sa.String(100), nullable=False),
        sa.Column("address", sa.String(64), nullable=False),
        sa.Column("what", sa.String(40), nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
    )
    op.create_table(
        "views",
        sa.Column("id", _KEY, primary_key=True, autoincrement=True),
        sa.Column("owner", sa.String(100), nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("query", sa.Text, nullable=False),
        sa.UniqueConstraint("owner", "name", name="one_view_per_name"),
    )
    for table in APPEND_ONLY:
        for statement in _barred(table, op.get_bind().dialect.name):
            op.execute(statement)


def _barred(table: str, dialect: str) -> list[str]:
    """Statements after which rows of a table cannot be changed or removed."""
    if dialect == "sqlite":
        return [
            f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
            f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
            for verb in ("UPDATE", "DELETE")
        ]
    return [
        f"CREATE FUNCTION {table}_is_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{table} is append-only'; END $$",
        f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
        f"FOR EACH STATEMENT EXECUTE FUNCTION {table}_is_append_only()",
    ]


def downgrade() -> None:
    """There is nothing older: the log is never thrown away."""
    raise RuntimeError("the log of decisions is not thrown away")
