"""HTTP filters of the public listener, in the order a request meets them.

Header hygiene, limit per client address, body size, token, router. The cheap refusals come
first, so that an attacker pays more than the gateway does.
"""

from __future__ import annotations

from typing import Any

from scoreboard_operator.components.gateway.settings import (
    AUDIENCE,
    ISSUER,
    USER,
    GatewaySettings,
)

_HTTP = "type.googleapis.com/envoy.extensions.filters.http"
_MUTATION = "type.googleapis.com/envoy.extensions.http.early_header_mutation.header_mutation.v3"

RATE_LIMITED_ADDRESSES = 20_000
"""Client addresses counted at once; the one unseen the longest is forgotten first."""

ACCESS_COOKIE = "__Host-sb_access"
"""Set by the user service at a browser's login."""

CLOCK_SKEW_SECONDS = 5
"""How long after its end a token still passes; the nodes' clocks may differ this much."""

# Headers only proxies set. The edge in front of us, once there is one, is named by hop count,
# and x-forwarded-for then leaves this list.
_PROXY_HEADERS = (
    "forwarded",
    "true-client-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-original-url",
    "x-real-ip",
    # Always made here, so that no client can pass its requests off as another's in the logs.
    "x-request-id",
    "x-rewrite-url",
)
_INTERNAL_PREFIXES = ("x-envoy-", "x-scoreboard-")

SECURITY_HEADERS = {
    "strict-transport-security": "max-age=31536000",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
}


def _filter(name: str, message: str, **config: Any) -> dict[str, Any]:
    return {
        "name": f"envoy.filters.http.{name}",
        "typed_config": {"@type": f"{_HTTP}.{name}.v3.{message}", **config},
    }


def early_hygiene() -> list[dict[str, Any]]:
    """Removes what only proxies may say, before Envoy itself reads or sets these headers."""
    mutations: list[dict[str, Any]] = [{"remove": header} for header in _PROXY_HEADERS]
    mutations += [
        {"remove_on_match": {"key_matcher": {"prefix": prefix, "ignore_case": True}}}
        for prefix in _INTERNAL_PREFIXES
    ]
    return [
        {
            "name": "envoy.http.early_header_mutation.header_mutation",
            "typed_config": {"@type": f"{_MUTATION}.HeaderMutation", "mutations": mutations},
        }
    ]


def _response_hygiene() -> dict[str, Any]:
    # A filter rather than route settings: filters also see the gateway's own answers.
    added = [
        {"append": {"header": {"key": k, "value": v}, "append_action": "ADD_IF_ABSENT"}}
        for k, v in SECURITY_HEADERS.items()
    ]
    return _filter(
        "header_mutation",
        "HeaderMutation",
        mutations={"response_mutations": [*added, {"remove": "x-envoy-ratelimited"}]},
    )


def _bucket(settings: GatewaySettings) -> dict[str, Any]:
    """A bucket that is full for a quiet client and refilled often, so that limits are smooth."""
    per_second = settings.requests_per_second
    # Envoy refills at most every 50 ms.
    slices = max(1, min(20, per_second))
    while per_second % slices:
        slices -= 1
    return {
        "max_tokens": settings.burst,
        "tokens_per_fill": per_second // slices,
        "fill_interval": f"{1 / slices:.9g}s",
    }


def _rate_limit(settings: GatewaySettings) -> dict[str, Any]:
    """One token bucket for each client address, held by each gateway pod on its own.

    An IPv6 client owns a whole /64, so addresses are masked to it; IPv4 counts as it is.
    """
    everyone = {"runtime_key": "ratelimit", "default_value": {"numerator": 100}}
    masks = {"v4_prefix_mask_len": 32, "v6_prefix_mask_len": 64}
    return _filter(
        "local_ratelimit",
        "LocalRateLimit",
        stat_prefix="client_address",
        rate_limits=[{"actions": [{"masked_remote_address": masks}]}],
        # No value: Envoy makes a bucket for each value it meets.
        descriptors=[
            {"entries": [{"key": "masked_remote_address"}], "token_bucket": _bucket(settings)}
        ],
        max_dynamic_descriptors=RATE_LIMITED_ADDRESSES,
        filter_enabled=everyone,
        filter_enforced=everyone,
    )


def _token(settings: GatewaySettings) -> dict[str, Any]:
    """Verifies the access token against the user service's published keys.

    Every request needs one here; public routes switch the filter off for themselves.
    """
    provider = {
        "issuer": ISSUER,
        "audiences": [AUDIENCE],
        "forward": True,
        # Named on purpose: Envoy's default also takes ?access_token=, which ends up in logs.
        # The scheme is case-insensitive (RFC 9110), Envoy's prefix is not.
        "from_headers": [
            {"name": "authorization", "value_prefix": f"{scheme} "}
            for scheme in ("Bearer", "bearer")
        ],
        # Browsers; the service also asks for the CSRF token.
        "from_cookies": [ACCESS_COOKIE],
        "require_expiration": True,
        "clock_skew_seconds": CLOCK_SKEW_SECONDS,
        "payload_in_metadata": "claims",
        "jwt_cache_config": {"jwt_cache_size": 1000},
        "remote_jwks": {
            "http_uri": {
                "uri": f"https://{settings.upstream(USER).server_name}/.well-known/jwks.json",
                "cluster": USER,
                "timeout": "2s",
            },
            "cache_duration": f"{settings.jwks_seconds}s",
            # Fetched ahead of need: no request waits for it, and old keys serve until new come.
            "async_fetch": {"failed_refetch_duration": "1s"},
            "retry_policy": {"num_retries": 2},
        },
    }
    return _filter(
        "jwt_authn",
        "JwtAuthentication",
        providers={"scoreboard": provider},
        rules=[{"match": {"prefix": "/"}, "requires": {"provider_name": "scoreboard"}}],
    )


def http_filters(settings: GatewaySettings) -> list[dict[str, Any]]:
    """The filter chain of the HTTPS listener."""
    return [
        _response_hygiene(),
        _rate_limit(settings),
        _filter("buffer", "Buffer", max_request_bytes=settings.max_body_bytes),
        _token(settings),
        router(),
    ]


def router() -> dict[str, Any]:
    """The last filter of every chain; it tells neither side about Envoy's inner life."""
    return _filter("router", "Router", suppress_envoy_headers=True)
