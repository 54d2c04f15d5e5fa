"""Listeners: HTTPS for everybody, plain HTTP that only redirects, metrics and readiness."""

from __future__ import annotations

from typing import Any

from scoreboard_operator.components.gateway.clusters import sds
from scoreboard_operator.components.gateway.filters import early_hygiene, http_filters, router
from scoreboard_operator.components.gateway.replies import local_replies
from scoreboard_operator.components.gateway.routes import (
    admin_routes,
    api_routes,
    redirect_routes,
)
from scoreboard_operator.components.gateway.settings import GatewaySettings

_HCM = (
    "type.googleapis.com/envoy.extensions.filters.network"
    ".http_connection_manager.v3.HttpConnectionManager"
)
_TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
_INSPECTOR = "type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"
_STDOUT = "type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog"

BUFFER_BYTES = 64 * 1024
MIB = 1024 * 1024

# What is logged of a request: no query, no header that may hold a secret.
ACCESS_LOG = {
    "timestamp": "%START_TIME(%Y-%m-%dT%H:%M:%S.%3fZ)%",
    "level": "info",
    "event": "request",
    "component": "gateway",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "client": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
    "method": "%REQ(:METHOD)%",
    "path": "%PATH(NQ:ORIG_OR_PATH)%",
    "protocol": "%PROTOCOL%",
    "status": "%RESPONSE_CODE%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "flags": "%RESPONSE_FLAGS%",
    "duration_ms": "%DURATION%",
    "bytes_received": "%BYTES_RECEIVED%",
    "bytes_sent": "%BYTES_SENT%",
    "service": "%UPSTREAM_CLUSTER%",
    "upstream": "%UPSTREAM_HOST%",
    "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    "user": "%DYNAMIC_METADATA(envoy.filters.http.jwt_authn:claims:sub)%",
}


def listeners(settings: GatewaySettings) -> list[dict[str, Any]]:
    """All listeners of a gateway pod."""
    return [_https(settings), _http(settings), _metrics(settings)]


def _listener(
    name: str, settings: GatewaySettings, port: int, manager: dict[str, Any]
) -> dict[str, Any]:
    manager = {"@type": _HCM, "stat_prefix": name, **_limits(settings), **manager}
    return {
        "name": name,
        "address": {"socket_address": {"address": settings.address, "port_value": port}},
        "per_connection_buffer_limit_bytes": BUFFER_BYTES,
        "filter_chains": [
            {
                "filters": [
                    {
                        "name": "envoy.filters.network.http_connection_manager",
                        "typed_config": manager,
                    }
                ]
            }
        ],
    }


def _limits(settings: GatewaySettings) -> dict[str, Any]:
    """Bounds that hold for every client, friendly or not."""
    return {
        "codec_type": "AUTO",
        "request_headers_timeout": f"{settings.request_seconds}s",
        "request_timeout": f"{settings.request_seconds}s",
        "stream_idle_timeout": "60s",
        "drain_timeout": "5s",
        "max_request_headers_kb": 32,
        "common_http_protocol_options": {
            "idle_timeout": "300s",
            "max_headers_count": 100,
            "headers_with_underscores_action": "DROP_HEADER",
        },
        "http2_protocol_options": {
            "max_concurrent_streams": 100,
            "initial_stream_window_size": BUFFER_BYTES,
            "initial_connection_window_size": MIB,
        },
        "use_remote_address": True,
        "xff_num_trusted_hops": 0,
        # No address is trusted: what comes from inside the cluster is a client like any other.
        # An empty list would mean Envoy's own list of private networks, so one that no client has.
        "internal_address_config": {
            "cidr_ranges": [{"address_prefix": "255.255.255.255", "prefix_len": 32}]
        },
        "normalize_path": True,
        "merge_slashes": True,
        "path_with_escaped_slashes_action": "REJECT_REQUEST",
        "server_name": "scoreboard",
    }


def _https(settings: GatewaySettings) -> dict[str, Any]:
    listener = _listener(
        "https",
        settings,
        settings.ports.https,
        {
            "early_header_mutation_extensions": early_hygiene(),
            "always_set_request_id_in_response": True,
            "local_reply_config": local_replies(),
            "access_log": [
                {
                    "name": "envoy.access_loggers.stdout",
                    "typed_config": {
                        "@type": _STDOUT,
                        "log_format": {"json_format": ACCESS_LOG},
                    },
                }
            ],
            "route_config": api_routes(settings),
            "http_filters": http_filters(settings),
        },
    )
    chain = listener["filter_chains"][0]
    chain["transport_socket"] = {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": _TLS,
            "common_tls_context": {
                "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
                "alpn_protocols": ["h2", "http/1.1"],
                "tls_certificate_sds_secret_configs": [sds("certificate", settings)],
            },
        },
    }
    chain["transport_socket_connect_timeout"] = "10s"
    return listener


def _http(settings: GatewaySettings) -> dict[str, Any]:
    manager = {"route_config": redirect_routes(settings), "http_filters": [router()]}
    return _listener("http", settings, settings.ports.http, manager)


def _metrics(settings: GatewaySettings) -> dict[str, Any]:
    manager = {"route_config": admin_routes(), "http_filters": [router()]}
    listener = _listener("metrics", settings, settings.ports.metrics, manager)
    # Probes and scrapes must get through when clients are being turned away.
    listener["ignore_global_conn_limit"] = True
    listener["bypass_overload_manager"] = True
    return listener
