"""What the Envoy configuration is made from: one value, no Kubernetes in it.

The same functions build the configuration of a pod and of the behavioural tests, which run the
real Envoy on 127.0.0.1 with other ports and paths.
"""

from __future__ import annotations

from dataclasses import dataclass, field

SCORE, USER, NOTIFICATION = "score", "user", "notification"
SERVICES = (SCORE, USER, NOTIFICATION)

ISSUER = "scoreboard"
AUDIENCE = "scoreboard"

SMALL_BODY_BYTES = 16 * 1024
"""Largest body of a score write or an authentication call."""


@dataclass(frozen=True)
class Endpoint:
    """The pods of one service in one zone, behind one DNS name.

    ``priority`` 0 is used first; 1 only as far as priority 0 is not healthy.
    """

    zone: str
    host: str
    port: int
    health_port: int
    priority: int


@dataclass(frozen=True)
class Upstream:
    """One service: where its pods are and the name its certificate must carry."""

    service: str
    server_name: str
    endpoints: tuple[Endpoint, ...]


@dataclass(frozen=True)
class Ports:
    """Listening ports of the gateway; the admin port is bound to loopback only."""

    https: int = 8443
    http: int = 8080
    metrics: int = 9100
    admin: int = 9901


@dataclass(frozen=True)
class Files:
    """Where the pod's files are.

    ``certificate`` holds tls.crt and tls.key shown to clients, ``authority`` holds ca.crt that
    upstream certificates are checked with, ``config`` holds what this package generates.
    """

    certificate: str = "/etc/scoreboard/public-tls"
    authority: str = "/etc/scoreboard/tls"
    config: str = "/etc/scoreboard/gateway"


@dataclass(frozen=True)
class GatewaySettings:
    """Everything the configuration of the gateway pods of one zone depends on (hashable).

    ``redirects``      pairs: plain-HTTP port a client used, HTTPS port it is sent to
    ``memory_bytes``   memory limit of the container, for Envoy's own overload protection
    ``jwks_seconds``   how long fetched keys are used before they are fetched again
    ``request_seconds``  longest time a request may take to arrive, and again to be answered
    """

    board: str
    zone: str
    upstreams: tuple[Upstream, ...]
    requests_per_second: int
    burst: int
    max_body_bytes: int
    memory_bytes: int
    address: str = "0.0.0.0"  # noqa: S104  a pod listens on its own address, known at start only
    ports: Ports = field(default_factory=Ports)
    files: Files = field(default_factory=Files)
    redirects: tuple[tuple[int, int], ...] = ()
    jwks_seconds: int = 60
    request_seconds: int = 10

    def upstream(self, service: str) -> Upstream:
        """The upstream of one service; KeyError when there is none."""
        return {each.service: each for each in self.upstreams}[service]
