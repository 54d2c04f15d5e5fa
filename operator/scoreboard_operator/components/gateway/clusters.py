"""Upstream clusters: the three services and Envoy's own admin interface."""

from __future__ import annotations

from typing import Any

from scoreboard_operator.components.gateway.settings import (
    Endpoint,
    GatewaySettings,
    Upstream,
)

DNS_REFRESH = "1s"
"""How long a deleted pod may still be known; headless Services list ready pods only."""

IDLE_TIMEOUT = "30s"
"""Must stay below the services' keep-alive, or a request may meet a connection being closed."""

_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3"
_RAW = "type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"
_PLAIN = {"plain": True}

# A WebSocket holds a connection and a request for as long as it lives.
_MANY = 20_000


def clusters(settings: GatewaySettings) -> list[dict[str, Any]]:
    """All clusters, named after their service."""
    return [*(_service(each, settings) for each in settings.upstreams), _admin(settings)]


def _service(upstream: Upstream, settings: GatewaySettings) -> dict[str, Any]:
    return {
        "name": upstream.service,
        "cluster_type": _dns(),
        "connect_timeout": "1s",
        # DNS knows before the next health check that a pod is gone for good.
        "ignore_health_on_host_removal": True,
        "lb_policy": "LEAST_REQUEST",
        # Only with no healthy pod at all is every pod tried: the checks may be wrong.
        "common_lb_config": {"healthy_panic_threshold": {"value": 1}},
        "load_assignment": {
            "cluster_name": upstream.service,
            "endpoints": [_locality(endpoint) for endpoint in upstream.endpoints],
        },
        "transport_socket_matches": [
            {"name": "health", "match": _PLAIN, "transport_socket": _plain_socket()},
            {"name": "api", "match": {}, "transport_socket": _tls_socket(upstream, settings)},
        ],
        "health_checks": [_health_check()],
        "outlier_detection": _outlier_detection(),
        "circuit_breakers": {
            "thresholds": [
                {
                    "max_connections": _MANY,
                    "max_requests": _MANY,
                    "max_pending_requests": 1024,
                    # Retries may add a fifth to the load of a service in trouble, no more.
                    "retry_budget": {
                        "budget_percent": {"value": 20},
                        "min_retry_concurrency": 10,
                    },
                }
            ]
        },
        "upstream_connection_options": {
            "tcp_keepalive": {
                "keepalive_probes": 3,
                "keepalive_time": 15,
                "keepalive_interval": 5,
            }
        },
        "typed_extension_protocol_options": {
            _HTTP_OPTIONS: {
                "@type": f"type.googleapis.com/{_HTTP_OPTIONS}",
                "common_http_protocol_options": {"idle_timeout": IDLE_TIMEOUT},
                "explicit_http_config": {"http_protocol_options": {}},
            }
        },
    }


def _dns() -> dict[str, Any]:
    """Every address a name resolves to is an endpoint of its own ("strict DNS")."""
    return {
        "name": "envoy.cluster.dns",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.clusters.dns.v3.DnsCluster",
            "dns_refresh_rate": DNS_REFRESH,
            "dns_failure_refresh_rate": {"base_interval": "1s", "max_interval": "2s"},
            "respect_dns_ttl": False,
            # One query for each name where there is IPv4, and IPv6-only clusters work too.
            "dns_lookup_family": "V4_PREFERRED",
        },
    }


def _locality(endpoint: Endpoint) -> dict[str, Any]:
    address = {"address": endpoint.host, "port_value": endpoint.port}
    return {
        "locality": {"zone": endpoint.zone},
        "priority": endpoint.priority,
        "lb_endpoints": [
            {
                "endpoint": {
                    "address": {"socket_address": address},
                    "health_check_config": {"port_value": endpoint.health_port},
                }
            }
        ],
    }


def _health_check() -> dict[str, Any]:
    """Readiness as the pod itself reports it, on its plain metrics port."""
    return {
        "timeout": "1s",
        "interval": "2s",
        "interval_jitter": "0.2s",
        "no_traffic_interval": "2s",
        "unhealthy_interval": "1s",
        "no_traffic_healthy_interval": "2s",
        # One failed check is believed at once when it is an answer; silence needs two.
        "unhealthy_threshold": 2,
        "healthy_threshold": 1,
        "http_health_check": {"path": "/readyz"},
        "transport_socket_match_criteria": _PLAIN,
    }


def _outlier_detection() -> dict[str, Any]:
    """Ejects pods that cannot be talked to.

    A service's own 5xx does not count: it tells of what stands behind the service, which is
    the same in every zone, and ejecting all of them would help nobody.
    """
    return {
        "interval": "1s",
        "base_ejection_time": "5s",
        "max_ejection_time": "30s",
        "max_ejection_percent": 100,
        "split_external_local_origin_errors": True,
        "consecutive_local_origin_failure": 3,
        "enforcing_consecutive_local_origin_failure": 100,
        "enforcing_local_origin_success_rate": 0,
        "enforcing_consecutive_5xx": 0,
        "enforcing_consecutive_gateway_failure": 0,
        "enforcing_success_rate": 0,
    }


def _plain_socket() -> dict[str, Any]:
    return {"name": "envoy.transport_sockets.raw_buffer", "typed_config": {"@type": _RAW}}


def _tls_socket(upstream: Upstream, settings: GatewaySettings) -> dict[str, Any]:
    """TLS towards a service: our own CA and the service's own name, nothing else."""
    names = [{"san_type": "DNS", "matcher": {"exact": upstream.server_name}}]
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": f"{_TLS}.UpstreamTlsContext",
            "sni": upstream.server_name,
            "common_tls_context": {
                "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
                "alpn_protocols": ["http/1.1"],
                "combined_validation_context": {
                    "default_validation_context": {"match_typed_subject_alt_names": names},
                    "validation_context_sds_secret_config": sds("authority", settings),
                },
            },
        },
    }


def sds(name: str, settings: GatewaySettings) -> dict[str, Any]:
    """Reference to a secret that is read from a file and read again when it changes."""
    path = f"{settings.files.config}/{name}.json"
    return {"name": name, "sds_config": {"path_config_source": {"path": path}}}


def _admin(settings: GatewaySettings) -> dict[str, Any]:
    address = {"address": "127.0.0.1", "port_value": settings.ports.admin}
    return {
        "name": "admin",
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {
            "cluster_name": "admin",
            "endpoints": [
                {"lb_endpoints": [{"endpoint": {"address": {"socket_address": address}}}]}
            ],
        },
    }
