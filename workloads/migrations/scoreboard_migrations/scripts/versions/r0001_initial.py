"""The first schema of a shard: identities, sessions, scores, history, outbox.

Revision ID: 0001
"""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision: str | None = None
branch_labels = None
depends_on = None

# The SQL twin of scoreboard.kit.identity.bucket_of: the first 64 bits of sha256 over the sixteen
# bytes of the id, sign bit masked, modulo 960. Schema-qualified, so that no search_path of a
# restore or of logical replication can change what a check constraint means.
BUCKET_OF = """
create function bucket_of(id uuid) returns smallint
language sql immutable strict parallel safe
return (
    ('x' || pg_catalog.encode(
        pg_catalog.substr(pg_catalog.sha256(pg_catalog.uuid_send(id)), 1, 8), 'hex'
    ))::pg_catalog.bit(64)::pg_catalog.int8 & 9223372036854775807
) % 960
"""

TABLES = """
create table users (
    id            uuid primary key,
    bucket        smallint not null check (bucket = bucket_of(id)),
    username      varchar(50) not null unique,
    email         varchar(100) not null unique,
    display_name  varchar(50) not null,
    country       char(2),
    password_hash text not null,
    roles         text[] not null default '{player}',
    status        text not null default 'active',
    version       int not null default 1,
    created_at    timestamptz not null default now(),
    updated_at    timestamptz not null default now()
);

create table identity_claims (
    kind       text not null check (kind in ('username', 'email')),
    value      text not null,
    bucket     smallint not null check (bucket between 0 and 959),
    user_id    uuid not null,
    confirmed  bool not null default false,
    claimed_at timestamptz not null default now(),
    primary key (kind, value)
);
create index idx_identity_claims_user on identity_claims (user_id);
create index idx_identity_claims_open on identity_claims (claimed_at) where not confirmed;
create index idx_identity_claims_fences on identity_claims (claimed_at)
    where kind = 'username' and left(value, 1) = '!';

create table sessions (
    id                    uuid primary key,
    user_id               uuid not null references users on delete cascade,
    bucket                smallint not null check (bucket = bucket_of(user_id)),
    refresh_hash          bytea not null,
    previous_refresh_hash bytea,
    successor_token_enc   bytea,
    rotated_at            timestamptz,
    created_at            timestamptz not null default now(),
    last_seen_at          timestamptz not null default now(),
    expires_at            timestamptz not null,
    revoked_at            timestamptz,
    revoke_reason         text,
    fingerprint           varchar(64),
    user_agent            varchar(200),
    ip_address            inet
);
create index idx_sessions_user_active on sessions (user_id) where revoked_at is null;
create index idx_sessions_created on sessions (created_at);

create table scores (
    user_id       uuid primary key references users on delete cascade,
    bucket        smallint not null check (bucket = bucket_of(user_id)),
    current_score int not null default 0,
    reached_at    timestamptz not null default now(),
    last_updated  timestamptz not null default now(),
    version       int not null default 1
);
create index idx_score_ranking on scores (current_score desc, reached_at, user_id);

create table score_history (
    id              uuid primary key default gen_random_uuid(),
    user_id         uuid not null,
    bucket          smallint not null check (bucket between 0 and 959),
    score_change    int not null,
    action_type     varchar(50) not null,
    timestamp       timestamptz not null default now(),
    session_id      varchar(100),
    ip_address      inet,
    resulting_score int not null,
    version         int not null,
    idempotency_key varchar(128)
);
create index idx_score_history_user on score_history (user_id, timestamp desc);

create table idempotency_keys (
    user_id      uuid not null,
    key          varchar(128) not null,
    payload_hash bytea not null,
    response     bytea,
    status       smallint,
    created_at   timestamptz not null default now(),
    primary key (user_id, key)
);
create index idx_idempotency_keys_created on idempotency_keys (created_at);

create table rate_limits (
    user_id uuid primary key,
    bucket  smallint not null check (bucket between 0 and 959),
    recent  timestamptz[] not null default '{}'
);

create table outbox (
    id         bigint generated always as identity primary key,
    bucket     smallint not null check (bucket between 0 and 959),
    topic      text not null,
    key        text not null,
    payload    bytea not null,
    headers    jsonb not null default '{}',
    created_at timestamptz not null default now()
);

create table outbox_lease (
    name       text primary key,
    holder     text not null,
    fence      bigint not null default 0,
    expires_at timestamptz not null
);
"""

# Rows of one user are rewritten again and again: room in each page keeps those updates in place
# (HOT), and queue-like tables are vacuumed by dead rows, not by a share of the table.
STORAGE = """
alter table scores set (fillfactor = 80);
alter table rate_limits set (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02);
alter table sessions set (fillfactor = 85);
alter table outbox set (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
alter table outbox_lease set (fillfactor = 50);
"""

GRANTS = """
grant execute on function bucket_of(uuid) to
    score_service, user_service, notification_service, analytics, scoreboard_operator;

grant select (id, bucket, username, display_name, status, version) on users to score_service;
grant select, insert, update on scores, rate_limits, outbox_lease to score_service;
grant select, insert, delete on idempotency_keys, outbox to score_service;
grant select, insert on score_history to score_service;
grant select (id, user_id, revoked_at, expires_at) on sessions to score_service;

grant select, insert, update, delete on users, identity_claims, sessions to user_service;
grant select, insert, delete on outbox to user_service;
grant select, insert, update on outbox_lease to user_service;
grant select, insert on scores to user_service;

grant select (id, username, display_name, version) on users to notification_service;
grant select on scores to notification_service;
grant select (id, user_id, revoked_at, expires_at) on sessions to notification_service;

grant select (id, bucket, username, email, display_name, country, roles, status, version,
              created_at, updated_at) on users to analytics;
grant select on scores, score_history, idempotency_keys, rate_limits, outbox, outbox_lease
    to analytics;

grant select on alembic_version, outbox, outbox_lease to scoreboard_operator;
"""

# Each role states which rows it may see and write; a role without a policy sees none, whatever
# it is granted later. Writers cannot move a row to a bucket that is not its user's.
POLICIES = """
alter table users enable row level security;
alter table sessions enable row level security;
alter table scores enable row level security;
alter table outbox enable row level security;

create policy score_service_reads on users for select to score_service using (true);
create policy user_service_owns on users for all to user_service
    using (true) with check (bucket = bucket_of(id));
create policy notification_service_reads on users for select to notification_service using (true);
create policy analytics_reads on users for select to analytics using (true);

create policy score_service_reads on sessions for select to score_service using (true);
create policy user_service_owns on sessions for all to user_service
    using (true) with check (bucket = bucket_of(user_id));
create policy notification_service_reads on sessions for select to notification_service
    using (true);

create policy score_service_owns on scores for all to score_service
    using (true) with check (bucket = bucket_of(user_id));
create policy user_service_starts on scores for insert to user_service
    with check (current_score = 0 and bucket = bucket_of(user_id));
create policy user_service_reads on scores for select to user_service using (true);
create policy notification_service_reads on scores for select to notification_service using (true);
create policy analytics_reads on scores for select to analytics using (true);

-- A service publishes its own events and no others': neither sees, adds or drops the other's.
create policy score_service_publishes on outbox for all to score_service
    using (topic = 'score_updates') with check (topic = 'score_updates');
create policy user_service_publishes on outbox for all to user_service
    using (topic = 'user_actions') with check (topic = 'user_actions');
create policy analytics_reads on outbox for select to analytics using (true);
create policy scoreboard_operator_reads on outbox for select to scoreboard_operator using (true);
"""


def upgrade() -> None:
    """Create everything."""
    for statements in (BUCKET_OF, TABLES, STORAGE, GRANTS, POLICIES):
        op.execute(statements)


def downgrade() -> None:
    """There is nothing before the first schema, and dropping it would drop the data."""
    raise NotImplementedError("the first revision cannot be undone: restore a backup instead")
