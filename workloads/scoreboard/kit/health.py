"""Health of a service process, and the small HTTP server that shows it on port 9100.

Live means the event loop turns. Ready means this pod can do its work now: it has started, is not
draining, and every required check passes. A check looks at this pod's own state only; a peer that
is away (one shard of four, Redis) degrades the service but must not take every pod out at once.
"""

import asyncio
from collections.abc import Callable
from typing import Final, Literal

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, generate_latest
from pydantic import BaseModel
from starlette.types import Receive, Scope, Send

from scoreboard.kit.settings import Settings

Check = Callable[[], str | None]
"""Returns None when all is well, else a short reason without secrets. Must not block."""

_TEXT: Final = b"text/plain; charset=utf-8"


class Health:
    """What the process says about itself.

    `draining` is set on SIGTERM; services with long-lived connections wait on it to say goodbye.
    """

    def __init__(self) -> None:
        self.started = False
        self.draining = asyncio.Event()
        self._checks: dict[str, tuple[Check, bool]] = {}

    def add_check(self, name: str, check: Check, *, required: bool = True) -> None:
        """Add a check; one that is not required shows as degraded and leaves the pod ready."""
        self._checks[name] = (check, required)

    def failures(self, *, required_only: bool) -> dict[str, str]:
        """Return the reasons of failing checks by name."""
        found: dict[str, str] = {}
        for name, (check, required) in self._checks.items():
            if required or not required_only:
                try:
                    reason = check()
                except Exception as error:
                    reason = type(error).__name__
                if reason is not None:
                    found[name] = reason
        return found

    def not_ready(self) -> dict[str, str]:
        """Return why the pod is not ready; empty when it is."""
        if not self.started:
            return {"startup": "not finished"}
        if self.draining.is_set():
            return {"shutdown": "draining"}
        return self.failures(required_only=True)


class HealthReport(BaseModel):
    """Answer of GET /api/v1/health."""

    status: Literal["ok", "degraded"]
    service: str
    zone: str
    version: str
    failing: dict[str, str]


def router(settings: Settings, health: Health) -> APIRouter:
    """Return the public route GET /api/v1/health."""
    routes = APIRouter()

    @routes.get("/api/v1/health", tags=["health"])
    async def get_health() -> HealthReport:
        failing = health.not_ready() or health.failures(required_only=False)
        return HealthReport(
            status="degraded" if failing else "ok",
            service=settings.service,
            zone=settings.zone,
            version=settings.version,
            failing=failing,
        )

    return routes


def metrics_app(health: Health) -> Callable[[Scope, Receive, Send], object]:
    """Return the ASGI application of the metrics port: /livez, /readyz, /metrics."""

    def answer(path: str) -> tuple[int, bytes, bytes]:
        if path == "/livez":
            return 200, _TEXT, b"ok\n"
        if path == "/readyz":
            reasons = health.not_ready()
            lines = [f"{name}: {reason}\n" for name, reason in reasons.items()] or ["ok\n"]
            return (503 if reasons else 200), _TEXT, "".join(lines).encode()
        if path == "/metrics":
            return 200, CONTENT_TYPE_LATEST.encode(), generate_latest(REGISTRY)
        return 404, _TEXT, b"not found\n"

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        status, content_type, body = answer(scope["path"])
        headers = [(b"content-type", content_type), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app
