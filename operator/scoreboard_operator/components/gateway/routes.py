"""The route table of the public API: path -> service, who may call it, how large, how long.

A path that is not listed does not exist. A listed path needs a verified token unless it says
``public``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from scoreboard_operator.components.gateway.settings import (
    NOTIFICATION,
    SCORE,
    SERVICES,
    SMALL_BODY_BYTES,
    USER,
    GatewaySettings,
)

STREAM_IDLE_TIMEOUT = "3600s"
"""Silence after which a WebSocket or event stream is cut; services ping far more often."""

_BUFFER = "type.googleapis.com/envoy.extensions.filters.http.buffer.v3.BufferPerRoute"
_JWT = "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig"

# Safe for every request: the upstream cannot have seen it.
_RETRY_UNSENT = "connect-failure,refused-stream,reset-before-request"
# For requests that may be carried out twice: also broken connections and "not now".
_RETRY_IDEMPOTENT = f"{_RETRY_UNSENT},reset,retriable-status-codes"


@dataclass(frozen=True)
class Route:
    """One line of the table.

    ``match``     Envoy path specifier, e.g. ``{"path": "/api/v1/scores"}``
    ``methods``   only these, as a regular expression; empty for all
    ``public``    no token is asked for (the service may still verify one itself)
    ``small``     body limit of 16 KiB instead of ``gateway.maxBodyBytes``
    ``stream``    long-lived: no overall timeout, WebSocket upgrade allowed, body not buffered
    ``rewrite``   path the service sees instead
    """

    service: str
    match: dict[str, Any]
    methods: str = ""
    public: bool = False
    small: bool = False
    stream: bool = False
    rewrite: str = ""


def _exact(path: str) -> dict[str, Any]:
    return {"path": path}


def _under(path: str) -> dict[str, Any]:
    return {"path_separated_prefix": path}


def _pattern(regex: str) -> dict[str, Any]:
    return {"safe_regex": {"regex": regex}}


READ = "GET|HEAD"

TABLE: tuple[Route, ...] = (
    Route(USER, _exact("/.well-known/jwks.json"), READ, public=True),
    Route(SCORE, _exact("/api/v1/health"), READ, public=True),
    *(
        Route(name, _exact(f"/api/v1/health/{name}"), READ, public=True, rewrite="/api/v1/health")
        for name in SERVICES
    ),
    # A browser cannot set a header on a WebSocket: the service reads the token itself.
    Route(NOTIFICATION, _exact("/api/v1/ws"), "GET", public=True, stream=True),
    Route(NOTIFICATION, _exact("/api/v1/stream"), "GET", stream=True),
    Route(USER, _pattern("/api/v1/auth/(register|login|refresh)"), "POST", public=True, small=True),
    Route(USER, _under("/api/v1/auth"), small=True),
    Route(SCORE, _under("/api/v1/scores"), small=True),
    Route(SCORE, _exact("/api/v1/leaderboard"), READ, public=True),
    Route(SCORE, _exact("/api/v1/leaderboard")),
    Route(SCORE, _pattern("/api/v1/users/[^/]+/(score|history)")),
    Route(USER, _under("/api/v1/users")),
)


def _method(pattern: str) -> dict[str, Any]:
    return {"name": ":method", "string_match": {"safe_regex": {"regex": pattern}}}


def _retry(on: str) -> dict[str, Any]:
    """Once, and never on the pod or in the zone that just failed."""
    return {
        "retry_on": on,
        "num_retries": 1,
        "retriable_status_codes": [503],
        "retry_back_off": {"base_interval": "0.025s", "max_interval": "0.1s"},
        "retry_host_predicate": [
            {
                "name": "envoy.retry_host_predicates.previous_hosts",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.retry.host.previous_hosts"
                    ".v3.PreviousHostsPredicate"
                },
            }
        ],
        "host_selection_retry_max_attempts": 5,
        # With one pod in the zone there is no other host of its priority.
        "retry_priority": {
            "name": "envoy.retry_priorities.previous_priorities",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.retry.priority"
                ".previous_priorities.v3.PreviousPrioritiesConfig",
                "update_frequency": 1,
            },
        },
    }


def _action(route: Route, retry_on: str, settings: GatewaySettings) -> dict[str, Any]:
    action: dict[str, Any] = {
        "cluster": route.service,
        "timeout": "0s" if route.stream else f"{settings.request_seconds}s",
        "retry_policy": _retry(retry_on),
    }
    if route.stream:
        action["idle_timeout"] = STREAM_IDLE_TIMEOUT
        action["upgrade_configs"] = [{"upgrade_type": "websocket"}]
    if route.rewrite:
        action["prefix_rewrite"] = route.rewrite
    return action


def _filters(route: Route, settings: GatewaySettings) -> dict[str, Any]:
    """Per-route settings; what is left out falls back to the strict default of the filter."""
    found: dict[str, Any] = {}
    if route.public:
        found["envoy.filters.http.jwt_authn"] = {"@type": _JWT, "disabled": True}
    if route.stream:
        found["envoy.filters.http.buffer"] = {"@type": _BUFFER, "disabled": True}
    elif route.small:
        limit = min(SMALL_BODY_BYTES, settings.max_body_bytes)
        found["envoy.filters.http.buffer"] = {
            "@type": _BUFFER,
            "buffer": {"max_request_bytes": limit},
        }
    return found


def _routes(route: Route, settings: GatewaySettings) -> list[dict[str, Any]]:
    """Envoy routes of one line: idempotent methods first, since they may be retried further."""
    filters = _filters(route, settings)
    built = []
    for idempotent in (True, False):
        conditions = [_method(route.methods)] if route.methods else []
        if idempotent:
            conditions.append(_method("GET|HEAD|PUT|DELETE"))
        entry: dict[str, Any] = {
            "match": route.match | ({"headers": conditions} if conditions else {}),
            "route": _action(route, _RETRY_IDEMPOTENT if idempotent else _RETRY_UNSENT, settings),
        }
        if filters:
            entry["typed_per_filter_config"] = filters
        if idempotent and route.methods == "POST":
            continue
        built.append(entry)
        if route.methods in (READ, "GET"):
            break
    return built


def api_routes(settings: GatewaySettings) -> dict[str, Any]:
    """``route_config`` of the HTTPS listener."""
    routes = [entry for route in TABLE for entry in _routes(route, settings)]
    routes.append(
        {
            "match": {"prefix": "/"},
            "direct_response": {"status": 404},
            "typed_per_filter_config": {
                "envoy.filters.http.jwt_authn": {"@type": _JWT, "disabled": True}
            },
        }
    )
    return {
        "name": "api",
        "virtual_hosts": [{"name": "api", "domains": ["*"], "routes": routes}],
    }


def redirect_routes(settings: GatewaySettings) -> dict[str, Any]:
    """``route_config`` of the plain-HTTP listener: everything moves to HTTPS for good.

    The port a client used tells how it came, and so which HTTPS port it can reach.
    """

    def host(name: str, domain: str, port: int | None) -> dict[str, Any]:
        redirect: dict[str, Any] = {"https_redirect": True, "response_code": "PERMANENT_REDIRECT"}
        if port is not None:
            redirect["port_redirect"] = port
        route = {"match": {"prefix": "/"}, "redirect": redirect}
        return {"name": name, "domains": [domain], "routes": [route]}

    hosts = [host(f"from-{a}", f"*:{a}", b) for a, b in settings.redirects]
    return {"name": "redirect", "virtual_hosts": [*hosts, host("default", "*", None)]}


def admin_routes() -> dict[str, Any]:
    """``route_config`` of the metrics listener: three paths of the admin interface, no more."""

    def entry(path: str, admin_path: str) -> dict[str, Any]:
        return {
            "match": {"path": path},
            "route": {"cluster": "admin", "prefix_rewrite": admin_path, "timeout": "5s"},
        }

    routes = [
        entry("/metrics", "/stats/prometheus?usedonly"),
        entry("/ready", "/ready"),
        entry("/readyz", "/ready"),
        # Any answer shows that the main thread and a worker are alive; true also while draining.
        entry("/livez", "/hot_restart_version"),
        {"match": {"prefix": "/"}, "direct_response": {"status": 404}},
    ]
    return {
        "name": "admin",
        "virtual_hosts": [{"name": "admin", "domains": ["*"], "routes": routes}],
    }
