"""The components of a Scoreboard, in the order data flows."""

from __future__ import annotations

from scoreboard_operator.components import cache, certificates, database, gateway, kafka, services
from scoreboard_operator.components.base import Component

COMPONENTS: tuple[Component, ...] = (
    certificates.COMPONENT,
    database.COMPONENT,
    kafka.COMPONENT,
    cache.COMPONENT,
    *services.COMPONENTS,
    gateway.COMPONENT,
)
