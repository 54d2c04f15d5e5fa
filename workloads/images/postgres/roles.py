"""Roles, their passwords and the database of a shard, put right through the local socket.

Runs as Patroni's ``post_init`` (with a connection string) when the shard is created, and as its
``on_reload`` callback (with action, role and cluster) from then on: a changed password Secret
reloads Patroni, and the operator asks for a reload when it finds a role missing. Only the primary
acts; what is right already is not written again. The driver is imported late, because a replica's
reload should cost nothing.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import sys
from typing import TYPE_CHECKING

import settings

if TYPE_CHECKING:
    import psycopg

DATABASE = "scoreboard"

# role -> (key of its password, attributes); the order of creation
LOGINS = {
    "scoreboard_owner": ("owner", "nosuperuser nocreatedb nocreaterole"),
    "score_service": ("score", "nosuperuser nocreatedb nocreaterole"),
    "user_service": ("user", "nosuperuser nocreatedb nocreaterole"),
    "notification_service": ("notification", "nosuperuser nocreatedb nocreaterole"),
    "analytics": ("analytics", "nosuperuser nocreatedb nocreaterole"),
    "scoreboard_operator": ("operator", "nosuperuser nocreatedb nocreaterole"),
    "replicator": ("replication", "nosuperuser replication"),
    "rewind_user": ("rewind", "nosuperuser nocreatedb nocreaterole"),
}

# What pg_rewind reads from a running source; Patroni grants it too, at bootstrap only.
REWIND_FUNCTIONS = (
    "pg_ls_dir(text, boolean, boolean)",
    "pg_stat_file(text, boolean)",
    "pg_read_binary_file(text)",
    "pg_read_binary_file(text, bigint, bigint, boolean)",
)

ANALYTICS_SETTINGS = {"default_transaction_read_only": "on", "statement_timeout": "5min"}


def digest(passwords: dict[str, str]) -> str:
    """What the operator compares: the roles' shape and passwords in one value.

    It stands in a comment any role may read; the passwords are random and long, so it tells
    nothing about them. Mirrored by ``scoreboard_operator.components.database.roles``.
    """
    lines = [f"{role}:{key}:{passwords[key]}" for role, (key, _) in sorted(LOGINS.items())]
    return "roles-v1:" + hashlib.sha256("\n".join(lines).encode()).hexdigest()


def verifier_matches(verifier: str | None, password: str) -> bool:
    """Whether a stored SCRAM verifier is that of the password (RFC 5802)."""
    try:
        scheme, salted, keys = (verifier or "").split("$")
        iterations, salt = salted.split(":")
        stored, _ = keys.split(":")
    except ValueError:
        return False
    if scheme != "SCRAM-SHA-256":
        return False
    key = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(salt), int(iterations))
    client = hmac.digest(key, b"Client Key", "sha256")
    return hmac.compare_digest(hashlib.sha256(client).digest(), base64.b64decode(stored))


def ensure(connection: psycopg.Connection) -> list[str]:
    """Create and correct roles and database; returns what was changed, without passwords."""
    from psycopg import sql

    changed = []
    passwords = {key: settings.password(key) for key, _ in LOGINS.values()}
    stored = dict(connection.execute("select rolname, rolpassword from pg_authid").fetchall())
    for role, (key, attributes) in LOGINS.items():
        name = sql.Identifier(role)
        if role not in stored:
            connection.execute(sql.SQL("create role {} login").format(name))
            changed.append(f"created {role}")
        if not verifier_matches(stored.get(role), passwords[key]):
            # Hashed here, so that no statement log ever holds the password itself.
            hashed = connection.pgconn.encrypt_password(
                passwords[key].encode(), role.encode(), b"scram-sha-256"
            ).decode()
            connection.execute(
                sql.SQL("alter role {} login {} password {}").format(
                    name, sql.SQL(attributes), sql.Literal(hashed)
                )
            )
            changed.append(f"set the password of {role}")
    exists = connection.execute("select 1 from pg_database where datname = %s", (DATABASE,))
    if exists.fetchone() is None:
        connection.execute(
            sql.SQL("create database {} owner scoreboard_owner").format(sql.Identifier(DATABASE))
        )
        changed.append(f"created database {DATABASE}")
    wanted = digest(passwords)
    comment = connection.execute(
        "select shobj_description(oid, 'pg_authid') from pg_roles"
        " where rolname = 'scoreboard_operator'"
    ).fetchone()
    if changed or comment != (wanted,):
        grant(connection)
        connection.execute(
            sql.SQL("comment on role scoreboard_operator is {}").format(sql.Literal(wanted))
        )
    return changed


def grant(connection: psycopg.Connection) -> None:
    """Rights that belong to the cluster; those on tables belong to the migrations."""
    from psycopg import sql

    services = sql.SQL(", ").join(
        sql.Identifier(role) for role in LOGINS if role not in ("replicator", "rewind_user")
    )
    name = sql.Identifier(DATABASE)
    connection.execute(sql.SQL("revoke all on database {} from public").format(name))
    connection.execute(sql.SQL("grant connect on database {} to {}").format(name, services))
    connection.execute("grant pg_monitor to scoreboard_operator")
    for function in REWIND_FUNCTIONS:
        connection.execute(f"grant execute on function pg_catalog.{function} to rewind_user")
    for parameter, value in ANALYTICS_SETTINGS.items():
        connection.execute(
            sql.SQL("alter role analytics set {} = {}").format(
                sql.Identifier(parameter), sql.Literal(value)
            )
        )


def main(arguments: list[str]) -> int:
    """Exit code 0 when everything is right or this member is not the primary."""
    if len(arguments) == 3 and arguments[1] not in ("primary", "master"):
        return 0
    import psycopg

    try:
        with psycopg.connect(
            host="/run/pg",
            user="postgres",
            dbname="postgres",
            autocommit=True,
            application_name="scoreboard-roles",
            connect_timeout=5,
            # A new primary may have no standby yet, and roles must not wait for one.
            options="-c synchronous_commit=local",
        ) as connection:
            for line in ensure(connection):
                sys.stdout.write(f"roles: {line}\n")
    except (psycopg.Error, settings.SettingsError) as error:
        sys.stderr.write(f"roles: {' '.join(str(error).split())}\n")
        return 1
    return 0


if __name__ == "__main__":
    os.environ.pop("PGPASSWORD", None)
    sys.exit(main(sys.argv[1:]))
