"""What service processes say about themselves on the topic system_events."""

import asyncio
import json
import uuid
from datetime import UTC, datetime
from typing import Final

import structlog

from scoreboard.kit.kafka import KafkaUnavailable, Message, Producer
from scoreboard.kit.settings import Settings

TOPIC: Final = "system_events"
RETRY_SECONDS: Final = 5.0

log = structlog.get_logger("scoreboard.system_events")


def started(settings: Settings) -> Message:
    """Return the record that says this process has started; its key is the service."""
    event_id = str(uuid.uuid4())
    body = {
        "event_id": event_id,
        "type": "service.started",
        "service": settings.service,
        "version": settings.version,
        "zone": settings.zone,
        "pod": settings.pod,
        "occurred_at": datetime.now(UTC).isoformat(),
    }
    headers = {
        "event-id": event_id,
        "event-type": "service.started",
        "content-type": "application/json",
        "schema-version": "1",
    }
    return Message(
        TOPIC,
        settings.service.encode(),
        json.dumps(body).encode(),
        [(name, value.encode()) for name, value in headers.items()],
    )


async def announce_start(producer: Producer, settings: Settings) -> None:
    """Send `started`, waiting for Kafka as long as it takes; run it as a task."""
    message = started(settings)
    while True:
        try:
            if not all(await producer.send_all([message])):
                raise KafkaUnavailable("not acknowledged")
        except KafkaUnavailable as error:
            log.debug("start not announced yet", error=str(error))
            await asyncio.sleep(RETRY_SECONDS)
        else:
            return
