"""Logs and metrics of a service process.

Logs are JSON lines on stdout; each carries the service, zone and pod and, inside a request, its
request id. Metrics are Prometheus's RED set per route (rate, errors, duration). The middleware
here is the outermost layer of every service, so it also writes the answer to what nobody caught.
"""

import logging
import re
import sys
import time
import uuid
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

import msgspec
import structlog
from prometheus_client import Counter, Gauge, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from scoreboard.kit import problems
from scoreboard.kit.health import Health
from scoreboard.kit.settings import Settings

REQUESTS: Final = Counter(
    "scoreboard_http_requests_total", "HTTP requests answered.", ["method", "route", "status"]
)
DURATION: Final = Histogram(
    "scoreboard_http_request_duration_seconds",
    "Time from the request's head to the end of its answer.",
    ["method", "route"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
IN_FLIGHT: Final = Gauge("scoreboard_http_requests_in_flight", "HTTP requests being answered.")

SLOW_SECONDS: Final = 1.0
"""A request at least this slow is logged even when it went well."""
_REQUEST_ID: Final = re.compile(rb"[\x21-\x7e]{1,128}")
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

log = structlog.get_logger("scoreboard.http")


def configure(settings: Settings) -> None:
    """Set up logging for the process; call it once, before anything logs."""
    level = logging.getLevelNamesMapping().get(settings.log_level, logging.INFO)
    fixed = {
        "service": settings.service,
        "scoreboard": settings.scoreboard,
        "zone": settings.zone,
        "pod": settings.pod,
    }

    def add_fixed(_: Any, __: str, event: structlog.typing.EventDict) -> Mapping[str, Any]:
        return {**fixed, **event}

    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            add_fixed,
            structlog.processors.JSONRenderer(serializer=_to_json),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.BytesLoggerFactory(sys.stdout.buffer),
        cache_logger_on_first_use=True,
    )
    # Libraries log through the standard module; their lines take the same form.
    logging.basicConfig(handlers=[_Forward()], level=max(level, logging.WARNING), force=True)


def _to_json(event: Mapping[str, Any], **_: Any) -> bytes:
    return msgspec.json.encode(event, enc_hook=str)


class _Forward(logging.Handler):
    """Hands records of the standard logging module to structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            structlog.get_logger().log(
                record.levelno,
                record.getMessage(),
                logger=record.name,
                exc_info=record.exc_info or False,
            )
        except Exception:
            self.handleError(record)


def request_id_of(headers: list[tuple[bytes, bytes]]) -> str:
    """Return the gateway's x-request-id when it is well formed, else a new id."""
    for name, value in headers:
        if name == b"x-request-id":
            if _REQUEST_ID.fullmatch(value):
                return value.decode()
            break
    return uuid.uuid4().hex


def route_of(scope: Scope) -> str:
    """Return the route's template, the bounded label under which a request is counted.

    The framework's route object knows only its own part of a nested path, so the template is
    the path with the parameters' values put back to their names.
    """
    if scope.get("route") is None:
        return "unmatched"
    names = {str(value): name for name, value in scope.get("path_params", {}).items()}
    parts = str(scope["path"]).split("/")
    return "/".join(f"{{{names[part]}}}" if part in names else part for part in parts)


class Telemetry:
    """ASGI middleware: request id, metrics, request log, answers to uncaught exceptions."""

    def __init__(self, app: ASGIApp, health: Health) -> None:
        self._app = app
        self._health = health

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        request_id = request_id_of(scope["headers"])
        scope["request_id"] = request_id
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            if scope["type"] == "http":
                await self._http(scope, receive, send, request_id)
            else:
                await self._app(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        began = time.perf_counter()
        status = 0
        complete = False

        async def watched(message: Message) -> None:
            nonlocal status, complete
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = message.setdefault("headers", [])
                headers.append((b"x-request-id", request_id.encode()))
                if self._health.draining.is_set():
                    # Moves the gateway's kept-alive connections to pods that stay.
                    headers.append((b"connection", b"close"))
            await send(message)
            if message["type"] == "http.response.body":
                complete = not message.get("more_body", False)

        IN_FLIGHT.inc()
        try:
            await self._app(scope, receive, watched)
        except Exception as error:
            if status and not complete:
                raise  # half an answer is out; the server can only cut the connection
            answer = problems.answer_to(error, request_id)
            if not status:  # else it failed after its answer: logged, and nobody need know
                await answer(scope, receive, watched)
        finally:
            IN_FLIGHT.dec()
            self._count(scope, status or problems.CLIENT_GONE, time.perf_counter() - began)

    @staticmethod
    def _count(scope: Scope, status: int, seconds: float) -> None:
        """Count and log one request."""
        method = scope["method"] if scope["method"] in _METHODS else "other"
        route = route_of(scope)
        REQUESTS.labels(method, route, status).inc()
        DURATION.labels(method, route).observe(seconds)
        if status >= 500:
            write = partial(log.log, logging.WARNING)
        elif status >= 400 or seconds >= SLOW_SECONDS:
            write = partial(log.log, logging.INFO)
        else:
            # Thousands a second in normal running: the metrics tell that story.
            write = partial(log.log, logging.DEBUG)
        write(
            "request",
            method=method,
            route=route,
            status=status,
            duration_ms=round(seconds * 1000, 2),
        )
