"""The user service: accounts, sessions and tokens.

app         wires the service's resources into the common application
endpoints   HTTP: paths, headers, cookies, status codes
models      what goes in and out of the API
service     what the service does: register, login, refresh, revoke, profile
repository  SQL on users and sessions, one shard at a time
claims      uniqueness of usernames and addresses across shards, and the repair of orphans
passwords   argon2id in a bounded thread pool
sql         its longer statements
refresh     refresh tokens: format, rotation, reuse (pure)
throttle    limits on guessing, per account and per network
upkeep      runs the repairs and sweeps for ever, whatever fails
events      what goes to the topic user_actions
"""
