"""Alembic migrations of one database shard."""
