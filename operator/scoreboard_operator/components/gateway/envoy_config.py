"""The complete Envoy bootstrap of the gateway pods of one zone, as the files they mount."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from scoreboard_operator.components.gateway.clusters import clusters
from scoreboard_operator.components.gateway.listeners import listeners
from scoreboard_operator.components.gateway.settings import GatewaySettings

_SECRET = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"  # noqa: S105
_MONITOR = "type.googleapis.com/envoy.extensions.resource_monitors"

MAX_CONNECTIONS = 20_000
"""Open client connections of one gateway pod; more are refused, so that none starve it."""

BOOTSTRAP = "envoy.json"


@lru_cache(maxsize=128)  # every pass asks for every zone's, and they hardly ever change
def files(settings: GatewaySettings) -> Mapping[str, str]:
    """File name -> content. Certificates are named, never contained: they rotate in place."""
    made = {
        BOOTSTRAP: _dump(bootstrap(settings)),
        "certificate.json": _dump(_certificate(settings)),
        "authority.json": _dump(_authority(settings)),
    }
    return MappingProxyType(made)


def bootstrap(settings: GatewaySettings) -> dict[str, Any]:
    """The static configuration; its text is stable for equal settings."""
    admin = {"address": "127.0.0.1", "port_value": settings.ports.admin}
    log_line = {
        "timestamp": "%Y-%m-%dT%T.%eZ",
        "level": "%l",
        "event": "%j",
        "component": "gateway",
        "logger": "%n",
    }
    return {
        "node": {
            "id": "gateway",
            "cluster": f"{settings.board}-gateway",
            "locality": {"zone": settings.zone},
        },
        "admin": {"address": {"socket_address": admin}},
        "application_log_config": {"log_format": {"json_format": log_line}},
        "overload_manager": _overload(settings),
        "static_resources": {
            "listeners": listeners(settings),
            "clusters": clusters(settings),
        },
    }


def _overload(settings: GatewaySettings) -> dict[str, Any]:
    """Turns clients away before the kernel kills the pod with every connection it holds."""

    def monitor(name: str, message: str, **config: Any) -> dict[str, Any]:
        kind = f"{_MONITOR}.{message}"
        return {
            "name": f"envoy.resource_monitors.{name}",
            "typed_config": {"@type": kind, **config},
        }

    def action(name: str, share: float) -> dict[str, Any]:
        trigger = {"name": "envoy.resource_monitors.fixed_heap", "threshold": {"value": share}}
        return {"name": f"envoy.overload_actions.{name}", "triggers": [trigger]}

    return {
        "refresh_interval": "0.25s",
        "resource_monitors": [
            monitor(
                "fixed_heap",
                "fixed_heap.v3.FixedHeapConfig",
                # The heap is not all a process takes: a tenth is left for stacks and sockets.
                max_heap_size_bytes=settings.memory_bytes * 9 // 10,
            ),
            monitor(
                "global_downstream_max_connections",
                "downstream_connections.v3.DownstreamConnectionsConfig",
                max_active_downstream_connections=MAX_CONNECTIONS,
            ),
        ],
        "actions": [
            action("shrink_heap", 0.85),
            action("disable_http_keepalive", 0.92),
            action("stop_accepting_requests", 0.96),
        ],
    }


def _resource(name: str, body: dict[str, Any]) -> dict[str, Any]:
    return {"resources": [{"@type": _SECRET, "name": name, **body}]}


def _certificate(settings: GatewaySettings) -> dict[str, Any]:
    folder = settings.files.certificate
    certificate = {
        "certificate_chain": {"filename": f"{folder}/tls.crt"},
        "private_key": {"filename": f"{folder}/tls.key"},
        # A Secret volume is updated by swapping a link in this folder: both files at once.
        "watched_directory": {"path": folder},
    }
    return _resource("certificate", {"tls_certificate": certificate})


def _authority(settings: GatewaySettings) -> dict[str, Any]:
    folder = settings.files.authority
    context = {
        "trusted_ca": {"filename": f"{folder}/ca.crt"},
        "watched_directory": {"path": folder},
    }
    return _resource("authority", {"validation_context": context})


def _dump(document: dict[str, Any]) -> str:
    # JSON and not YAML, which takes some fifty times as long to write.
    return json.dumps(document, indent=1) + "\n"
