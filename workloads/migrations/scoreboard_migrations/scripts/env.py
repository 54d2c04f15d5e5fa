"""Alembic environment: runs the revisions on the connection the caller has opened and locked."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection

connection: Connection = context.config.attributes["connection"]

# Every revision commits on its own: a later one that fails leaves the earlier ones done, and a
# repeated run goes on from there.
context.configure(connection=connection, transaction_per_migration=True)
with context.begin_transaction():
    context.run_migrations()
