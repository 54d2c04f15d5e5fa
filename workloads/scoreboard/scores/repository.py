"""SQL of the score service. Every statement runs on the shard of its users.

`WRITE` commits a batch in one statement and one transaction, and needs no locks but the row locks
of `scores`, which it takes in the order of user ids:

* each row says which version of the score it builds on. A row is written only if that is still
  the newest, and every accepted write makes a new version; so whatever the statement read of the
  player before (keys, recent updates) was the newest too, and the limit is exact across replicas.
* it is all or nothing: if any row is not acceptable, nothing is written and each row says why.
  The ranks in the answers are computed for the whole batch, so they would be wrong otherwise.
  (The one exception is a row that another replica overtakes while the statement runs.)
* the answer is stored with the write. There is no moment at which a write is durable and its
  answer is not, so a replay after any crash gives the first answer byte for byte.
* an acknowledgement is a promise that a failover keeps the write, so a replay promises it too. Its
  row may be visible here before the standbys have it (the first attempt was cancelled while it
  waited for them), and a statement that only reads waits for nobody. So every replay writes a
  message of its own into the log: its commit comes after the first one's and waits
  for the quorum, and no row is locked or rewritten for it.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from scoreboard.kit.ranking import Row, microseconds
from scoreboard.scores.models import Outcome, Prepared, Result

WRITE: Final = """
WITH input AS MATERIALIZED (
  SELECT * FROM unnest(
    $1::uuid[], $2::smallint[], $3::text[], $4::bytea[], $5::int[], $6::int[], $7::bool[],
    $8::int[], $9::text[], $10::text[], $11::text[], $12::int[], $13::int[], $14::uuid[]
  ) WITH ORDINALITY AS i (user_id, bucket, key, payload_hash, expected, score, keeps,
    change, action, session, address, rank, previous, event_id, ord)
),
moment AS MATERIALIZED (SELECT clock_timestamp() AS t),
state AS MATERIALIZED (
  SELECT i.*, m.t, u.id AS known, u.username, u.display_name, u.status,
    u.version AS user_version,
    s.version, s.current_score, s.reached_at,
    k.payload_hash AS seen, k.response AS answer,
    ARRAY(SELECT x FROM unnest(r.recent) x
          WHERE x > m.t - interval '60 seconds' ORDER BY x) AS recent
  FROM input i CROSS JOIN moment m
  LEFT JOIN users u ON u.id = i.user_id
  LEFT JOIN scores s ON s.user_id = i.user_id
  LEFT JOIN idempotency_keys k ON k.user_id = i.user_id AND k.key = i.key
  LEFT JOIN rate_limits r ON r.user_id = i.user_id
),
decided AS MATERIALIZED (
  SELECT *, CASE
    WHEN seen IS NOT NULL THEN CASE WHEN seen = payload_hash THEN 'replay' ELSE 'reused' END
    WHEN known IS NULL THEN 'no-user'
    WHEN status <> 'active' THEN 'suspended'
    WHEN cardinality(recent) >= $15 THEN 'limited'
    WHEN recent[cardinality(recent)] > t - $16::int * interval '1 millisecond' THEN 'limited'
    WHEN coalesce(version, 0) <> expected THEN 'stale'
    ELSE 'held' END AS outcome
  FROM state
),
go AS MATERIALIZED (SELECT bool_and(outcome = 'held') AS ok FROM decided),
written AS (
  INSERT INTO scores AS s (user_id, bucket, current_score, reached_at, last_updated, version)
  SELECT user_id, bucket, score,
    CASE WHEN keeps THEN reached_at ELSE t + ord * interval '1 microsecond' END, t, expected + 1
  FROM decided WHERE (SELECT ok FROM go) ORDER BY user_id
  ON CONFLICT (user_id) DO UPDATE SET
    current_score = excluded.current_score, reached_at = excluded.reached_at,
    last_updated = excluded.last_updated, version = excluded.version
  WHERE s.version = excluded.version - 1
  RETURNING s.user_id, s.reached_at AS reached, s.version AS made
),
accepted AS MATERIALIZED (
  SELECT d.*, w.reached, w.made,
    to_char(w.reached AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS stamp
  FROM written w JOIN decided d ON d.user_id = w.user_id
),
limited AS (
  INSERT INTO rate_limits (user_id, bucket, recent)
  SELECT user_id, bucket, recent || t FROM accepted
  ON CONFLICT (user_id) DO UPDATE SET recent = excluded.recent
),
history AS (
  INSERT INTO score_history (id, user_id, bucket, score_change, action_type, timestamp,
    session_id, ip_address, resulting_score, version, idempotency_key)
  SELECT event_id, user_id, bucket, change, action, t, session, address::inet, score, made, key
  FROM accepted
),
queued AS (
  INSERT INTO outbox (bucket, topic, key, payload, headers, created_at)
  SELECT bucket, 'score_updates', user_id::text, convert_to(format(
      '{"event_id":"%s","type":"score.updated","user_id":"%s","username":%s,"display_name":%s,'
      '"score":%s,"change":%s,"action_type":"%s","version":%s,"reached_at":"%s",'
      '"occurred_at":"%s","bucket":%s,"shard":%s,"user_version":%s}',
      event_id, user_id, to_json(username::text), to_json(display_name::text), score, change,
      action, made, stamp, to_char(t AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
      bucket, $17::int, user_version), 'UTF8'),
    jsonb_build_object('event-id', event_id, 'event-type', 'score.updated',
      'content-type', 'application/json', 'schema-version', '1', 'entity-version', made::text), t
  FROM accepted ORDER BY ord
),
answered AS (
  INSERT INTO idempotency_keys (user_id, key, payload_hash, response, status, created_at)
  SELECT user_id, key, payload_hash, convert_to(format(
      '{"user_id":"%s","score":%s,"rank":%s,"previous_rank":%s,"version":%s,"change":%s,'
      '"action_type":"%s","reached_at":"%s"}',
      user_id, score, rank, coalesce(previous::text, 'null'), made, change, action, stamp),
      'UTF8'), 201, t
  FROM accepted
  RETURNING user_id, response
)
SELECT CASE WHEN a.user_id IS NOT NULL THEN 'accepted'
            WHEN d.outcome = 'held' AND (SELECT ok FROM go) THEN 'raced'
            ELSE d.outcome END AS outcome,
  CASE WHEN a.user_id IS NOT NULL THEN n.response ELSE d.answer END AS response,
  CASE WHEN a.user_id IS NOT NULL THEN d.score ELSE d.current_score END AS score,
  coalesce(a.reached, d.reached_at) AS reached,
  coalesce(a.made, d.version) AS version, d.username, d.display_name, d.user_version,
  greatest(0, $15 - cardinality(d.recent) - (a.user_id IS NOT NULL)::int) AS remaining,
  CASE WHEN d.outcome = 'limited' THEN greatest(0.001, extract(epoch FROM greatest(
    d.recent[cardinality(d.recent) - $15 + 1] + interval '60 seconds',
    d.recent[cardinality(d.recent)] + $16::int * interval '1 millisecond') - d.t))::float8
    ELSE 0 END AS retry_after,
  CASE WHEN d.outcome = 'replay'
    THEN pg_logical_emit_message(true, 'replay', ''::text) END AS replicated
FROM decided d
LEFT JOIN accepted a ON a.user_id = d.user_id
LEFT JOIN answered n ON n.user_id = d.user_id
ORDER BY d.ord
"""

_LOOKUP: Final = """
SELECT k.user_id, k.key, k.payload_hash, k.response,
  pg_logical_emit_message(true, 'replay', ''::text) AS replicated
FROM unnest($1::uuid[], $2::text[]) AS i (user_id, key)
JOIN idempotency_keys k ON k.user_id = i.user_id AND k.key = i.key
"""
_CURRENT: Final = """
SELECT s.user_id, s.current_score, s.reached_at, s.version, u.username, u.display_name, u.version
FROM scores s JOIN users u ON u.id = s.user_id WHERE s.user_id = $1
"""
_HISTORY: Final = """
SELECT id, score_change, action_type, timestamp, resulting_score, version
FROM score_history WHERE user_id = $1 AND (timestamp, id) < ($2, $3)
ORDER BY timestamp DESC, id DESC LIMIT $4
"""
_EXPIRE: Final = """
DELETE FROM idempotency_keys WHERE (user_id, key) IN (
  SELECT user_id, key FROM idempotency_keys
  WHERE created_at < now() - interval '24 hours' ORDER BY created_at LIMIT $1)
"""


async def write(
    connection: Any,
    rows: Sequence[Prepared],
    *,
    updates_per_minute: int,
    min_interval_ms: int,
    shard: int,
) -> list[Result]:
    """Commit a batch, no player twice, and return one result per row, in order.

    Running it again after a lost answer is safe: rows that were committed are replays then.
    Raises asyncpg errors.
    """
    jobs = [row.job for row in rows]
    records = await connection.fetch(
        WRITE,
        [job.user_id for job in jobs],
        [job.bucket for job in jobs],
        [job.key for job in jobs],
        [job.payload_hash for job in jobs],
        [row.expected_version for row in rows],
        [row.new_score for row in rows],
        [row.keeps_place for row in rows],
        [job.update.change for job in jobs],
        [job.update.action_type for job in jobs],
        [str(job.session_id) for job in jobs],
        [job.ip_address for job in jobs],
        [row.rank for row in rows],
        [row.previous_rank for row in rows],
        [job.event_id for job in jobs],
        updates_per_minute,
        min_interval_ms,
        shard,
    )
    return [_result(record) for record in records]


def _result(record: Any) -> Result:
    reached: datetime | None = record["reached"]
    return Result(
        outcome=Outcome(record["outcome"]),
        response=record["response"],
        score=record["score"],
        reached_us=microseconds(reached) if reached is not None else None,
        version=record["version"],
        username=record["username"] or "",
        display_name=record["display_name"] or "",
        user_version=record["user_version"] or 0,
        remaining=record["remaining"],
        retry_after=record["retry_after"],
    )


async def stored_answers(
    connection: Any, places: Sequence[tuple[UUID, str]]
) -> dict[tuple[UUID, str], tuple[bytes, bytes]]:
    """Return the payload hash and the answer stored under each user's key that has one."""
    rows = await connection.fetch(_LOOKUP, [place[0] for place in places], [p[1] for p in places])
    return {(row["user_id"], row["key"]): (row["payload_hash"], row["response"]) for row in rows}


async def current(connection: Any, user_id: UUID) -> Row | None:
    """Return a player's score as the database has it, or None."""
    row = await connection.fetchrow(_CURRENT, user_id)
    return Row(row[0], row[1], microseconds(row[2]), *row[3:]) if row is not None else None


async def history(
    connection: Any, user_id: UUID, before: tuple[datetime, UUID], limit: int
) -> list[dict[str, Any]]:
    """Return a player's accepted updates older than `before`, newest first."""
    return [dict(row) for row in await connection.fetch(_HISTORY, user_id, *before, limit)]


async def expire_keys(connection: Any, limit: int = 20_000) -> int:
    """Forget idempotency keys older than a day, at most `limit`; returns how many."""
    status: str = await connection.execute(_EXPIRE, limit)
    return int(status.rpartition(" ")[2])
