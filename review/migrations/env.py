"""Turns the connection that review.database hands over into a migration, in its transaction."""

from __future__ import annotations

from alembic import context

from review.schema import METADATA

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA)
with context.begin_transaction():
    context.run_migrations()
