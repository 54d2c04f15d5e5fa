"""The longer statements of the repository, with their parameters.

They are constants put together from constants; nothing a client sends is ever part of the text.
"""

from typing import Final

_COLUMNS: Final = (
    "u.id, u.username, u.email, u.display_name, u.country, u.password_hash, u.roles, u.status,"
    " u.version, u.created_at, u.updated_at"
)

SELECT_USER: Final = f"select {_COLUMNS} from users u where u.id = $1"  # noqa: S608
"""$1 user id."""

UPDATE_PROFILE: Final = f"""
update users u
set display_name = $3, country = $4, version = u.version + 1, updated_at = now()
where u.id = $1 and ($2::int is null or u.version = $2)
returning {_COLUMNS}
"""  # noqa: S608
"""$1 user id, $2 expected version or null, $3 display name, $4 country or null."""

ROTATE: Final = f"""
update sessions s
set previous_refresh_hash = s.refresh_hash, refresh_hash = $4, successor_token_enc = $5,
    rotated_at = now(), last_seen_at = now(),
    expires_at = least(now() + $6 * interval '1 day', s.created_at + $7 * interval '1 day')
from users u
where s.id = $1 and s.user_id = $2 and s.refresh_hash = $3
  and s.revoked_at is null and s.expires_at > now()
  and u.id = s.user_id and u.status = 'active'
returning {_COLUMNS}
"""  # noqa: S608
"""$1 session, $2 user, $3 hash presented, $4 successor's hash, $5 successor sealed,
$6 idle days, $7 absolute days."""

SWEEP_SESSIONS: Final = """
delete from sessions where id = any(array(
    select id from sessions
    where created_at < now() - $1 * interval '1 day'
      and least(revoked_at, expires_at) < now() - $1 * interval '1 day'
    order by created_at limit $2
    for update skip locked
))
"""
"""$1 days since the session's end, $2 rows at most. `created_at`, which is before any end, has the
index: an index on the ends would have to be kept up with every refresh. An array, since it is read
once: a join could read a limited subquery again and delete more."""

SWEEP_FENCES: Final = """
delete from identity_claims where kind = 'username' and value = any(array(
    select value from identity_claims
    where kind = 'username' and left(value, 1) = '!'
      and claimed_at < now() - $1 * interval '1 day'
    order by claimed_at limit $2
    for update skip locked
))
"""
"""$1 days since the fence was made, $2 rows at most."""

SESSION_STATE: Final = f"""
select s.refresh_hash, s.previous_refresh_hash, s.successor_token_enc,
       s.revoked_at is not null as revoked,
       s.expires_at <= now() as expired,
       extract(epoch from clock_timestamp() - s.rotated_at)::float8 as rotated_ago,
       {_COLUMNS}
from sessions s join users u on u.id = s.user_id
where s.id = $1 and s.user_id = $2
"""  # noqa: S608
"""$1 session, $2 user."""
