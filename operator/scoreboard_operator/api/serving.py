"""Sections of the serving layer: ``services``, ``gateway``, ``rules``, ``edge``, ``monitoring``."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from scoreboard_operator.api.base import Model, Resources, Rule, described


class Service(Model):
    """One of the three services: a Deployment per zone."""

    replicas_per_zone: int = described(1, "Pods in each zone.", ge=1, le=50)
    resources: Resources = described(
        lambda: Resources(cpu="50m", memory="192Mi"), "Resources of each pod."
    )
    log_level: Literal["debug", "info", "warning", "error"] = described(
        "info", "Lowest level that is logged."
    )


class Services(Model):
    """The three services."""

    score: Service = described(Service, "Scores, leaderboard, rules, event publishing.")
    user: Service = described(Service, "Accounts, sessions, tokens, profiles.")
    notification: Service = described(Service, "WebSocket push of score changes.")


class Action(Model):
    """Limits of one action type."""

    cel: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.minChange <= self.maxChange",
            "minChange must not be above maxChange: swap or widen them",
        ),
    )

    min_change: int = described(-1000, "Smallest change one write may make.", ge=-(10**9), le=10**9)
    max_change: int = described(1000, "Largest change one write may make.", ge=-(10**9), le=10**9)


class Rules(Model):
    """Business rules of score writes, applied live."""

    operator: Literal["sum", "best", "last"] = described(
        "sum", "sum adds the change; best keeps the largest value; last takes the newest."
    )
    max_score: int = described(1_000_000_000, "No score goes above it.", ge=1, le=2_000_000_000)
    updates_per_minute: int = described(
        10, "Accepted writes per user in any sliding minute.", ge=1, le=600
    )
    min_interval_ms: int = described(
        0, "Shortest time between two accepted writes of a user.", ge=0, le=60_000
    )
    actions: dict[str, Action] = Field(
        default_factory=lambda: {"default": Action()},
        description="Action types players may send; an unknown one is refused.",
        min_length=1,
        max_length=64,
        json_schema_extra={
            "x-kubernetes-validations": [
                {
                    "rule": "self.all(k, k.matches('^[a-z][a-z0-9_]{0,49}$'))",
                    "message": "rules.actions keys must be lower_snake_case, at most 50 characters",
                }
            ]
        },
    )


class RateLimit(Model):
    """Per-IP limit of each gateway pod.

    It counts the address the pod sees: behind an ingress, or a NodePort that crosses nodes, that
    is the proxy's or the node's, shared by all its clients.
    """

    requests_per_second: int = described(
        50, "Sustained requests per second of one client address.", ge=1, le=100_000
    )
    burst: int = described(100, "Requests a quiet client may send at once.", ge=1, le=100_000)


class GatewayService(Model):
    """How the gateway is reached from outside the cluster."""

    cel: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.type == 'NodePort' || (!has(self.httpsNodePort) && !has(self.httpNodePort))",
            "gateway.service.httpsNodePort and httpNodePort need gateway.service.type NodePort",
        ),
        Rule(
            "!has(self.httpsNodePort) || !has(self.httpNodePort)"
            " || self.httpsNodePort != self.httpNodePort",
            "gateway.service.httpsNodePort and httpNodePort must differ",
        ),
    )

    type: Literal["ClusterIP", "NodePort", "LoadBalancer"] = described(
        "ClusterIP", "Type of the gateway's Service."
    )
    https_node_port: int | None = described(None, "Fixed node port of HTTPS.", ge=30000, le=32767)
    http_node_port: int | None = described(
        None, "Fixed node port of plain HTTP, which only redirects.", ge=30000, le=32767
    )


class GatewayTLS(Model):
    """Certificate the gateway shows."""

    secret_name: str | None = Field(
        default=None,
        description="A kubernetes.io/tls Secret to serve; the Scoreboard's own CA when left out.",
        min_length=1,
        max_length=253,
    )


class Gateway(Model):
    """Envoy: the one entry point, a Deployment per zone."""

    replicas_per_zone: int = described(1, "Pods in each zone.", ge=1, le=50)
    resources: Resources = described(
        lambda: Resources(cpu="50m", memory="192Mi"), "Resources of each pod."
    )
    rate_limit: RateLimit = described(
        RateLimit,
        "Limit of each client address in each gateway pod; behind an ingress, or a NodePort that"
        " crosses nodes, the address is the proxy's or the node's.",
    )
    max_body_bytes: int = described(65536, "Largest request body, in bytes.", ge=1024, le=1_048_576)
    service: GatewayService = described(GatewayService, "How the gateway is reached.")
    tls: GatewayTLS = described(GatewayTLS, "Certificate the gateway shows.")
