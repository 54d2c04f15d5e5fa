"""What the user service tells others, through the outbox to the topic user_actions.

An event is written in the transaction of the change it reports, so it exists exactly when the
change does. It carries no e-mail address, password, token or IP address.
"""

import json
import uuid
from datetime import UTC, datetime
from typing import Any, Final, Literal
from uuid import UUID

from scoreboard.kit import outbox
from scoreboard.kit.identity import bucket_of

TOPIC: Final = "user_actions"
EventType = Literal["user.registered", "session.created", "session.revoked", "profile.updated"]


def payload(kind: EventType, user_id: UUID, event_id: str, **fields: Any) -> bytes:
    """Return the value of an event's record, as JSON; UUIDs and times become text."""
    body = {
        "event_id": event_id,
        "type": kind,
        "user_id": str(user_id),
        "bucket": bucket_of(user_id),
        "occurred_at": datetime.now(UTC).isoformat(),
        **fields,
    }
    return json.dumps(body, default=str, separators=(",", ":")).encode()


async def add(connection: Any, kind: EventType, user_id: UUID, **fields: Any) -> None:
    """Insert an event into the outbox, in the caller's transaction on the user's shard."""
    event_id = str(uuid.uuid4())
    headers = {
        "event-id": event_id,
        "event-type": kind,
        "content-type": "application/json",
        "schema-version": "1",
    }
    if "version" in fields:  # of the user; sessions have none, they only begin and end
        headers["entity-version"] = str(fields["version"])
    await outbox.insert(
        connection,
        bucket=bucket_of(user_id),
        topic=TOPIC,
        key=str(user_id),
        payload=payload(kind, user_id, event_id, **fields),
        headers=headers,
    )
