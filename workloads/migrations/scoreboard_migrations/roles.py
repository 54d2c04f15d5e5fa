"""The database roles the revisions grant to, and making them where that is allowed.

In a cluster the roles exist before any migration runs: Patroni's bootstrap makes them and the
operator keeps them. On a developer's database the migration runs as a superuser and makes them
itself, without passwords.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, text

OWNER: Final = "scoreboard_owner"
ROLES: Final = (
    OWNER,
    "score_service",
    "user_service",
    "notification_service",
    "analytics",
    "scoreboard_operator",
)


class RolesMissingError(Exception):
    """Roles are absent and this user may not create them."""


def ensure(connection: Connection) -> list[str]:
    """Create absent roles if allowed; return the names of those created.

    Raises RolesMissingError when roles are absent and the user has no right to create them.
    """
    known = set(connection.scalars(text("select rolname from pg_roles")))
    missing = [role for role in ROLES if role not in known]
    superuser = connection.scalar(
        text("select rolsuper from pg_roles where rolname = current_user")
    )
    if missing and not superuser:
        raise RolesMissingError(f"roles do not exist yet: {', '.join(missing)}")
    for role in missing:
        connection.execute(text(f'create role "{role}" login'))
    if superuser:
        # Where Patroni's bootstrap made the database, its owner may create tables already.
        connection.execute(text(f"grant create on schema public to {OWNER}"))
    return missing
