"""What the three services share.

settings     environment and the files of CONFIG_DIR, re-read when they change
problems     RFC 9457 problem documents and the handlers that write them
identity     the bucket of a user and of an identity claim
tokens       EdDSA access tokens: issue, verify, key sets
signing      per-session HMAC signatures of write requests (pure)
sessions     is this session revoked? (1 s local cache, Redis, PostgreSQL)
authn        who is asking: bearer token or browser cookie, checked against both of the above
requests     small facts of an HTTP request: client address, user agent
system_events what a process says about itself in Kafka
limits       request body limit as an ASGI middleware
telemetry    JSON logs with request ids, Prometheus metrics per route
health       livez, readyz and metrics on their own port; draining
serve        one service process from start to a drained end
shard_map    which shard has which bucket (pure)
shards       one pool per shard primary and replica
cache        Redis Cluster client
kafka        access and producer
kafka_reader what every pod reads of whole topics
outbox       relay of committed events to Kafka, with a fenced lease
"""
