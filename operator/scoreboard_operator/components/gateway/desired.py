"""Objects of the gateway: per zone a ConfigMap and a Deployment, and what they share."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from scoreboard_operator.components import build
from scoreboard_operator.components.base import Board, Object, Snapshot, UserError
from scoreboard_operator.components.gateway.envoy_config import BOOTSTRAP, files
from scoreboard_operator.components.gateway.settings import (
    SERVICES,
    Endpoint,
    Files,
    GatewaySettings,
    Ports,
    Upstream,
)

COMPONENT = "gateway"
PORTS = Ports()
FILES = Files()
UPSTREAM_PORT, UPSTREAM_HEALTH_PORT = 8443, 9100

CONFIG_HASH = "scoreboard.dev/config-hash"

SETTLE_SECONDS = 5
"""How long a stopping pod still takes new connections: kube-proxy learns of it a little later."""
DRAIN_SECONDS = 20
"""How long connections that are open after that may take to end by themselves."""


def desired(board: Board, snapshot: Snapshot) -> Iterable[Object]:
    """All objects of the gateway.

    Raises UserError when the certificate the spec names cannot be served; the loop then leaves
    the running gateway as it is.
    """
    trouble = certificate_trouble(board, snapshot)
    if trouble is not None:
        raise trouble
    return _objects(board)


def _objects(board: Board) -> list[Object]:
    name = f"{board.name}-{COMPONENT}"
    shared = _labels(board)
    selector = build.selector(board, COMPONENT)
    objects = [
        build.service_account(build.metadata(board, name, shared)),
        _service(board, build.metadata(board, name, shared), selector),
        build.disruption_budget(build.metadata(board, name, shared), selector),
    ]
    for zone in board.zones:
        config = files(settings_of(board, zone))
        meta = build.metadata(board, f"{name}-{zone}", _labels(board, zone))
        objects.append(build.config_map(meta, config))
        objects.append(_deployment(board, zone, config))
    return objects


def workloads(board: Board) -> list[str]:
    """Names of the gateway's Deployments, in zone order."""
    return [f"{board.name}-{COMPONENT}-{zone}" for zone in board.zones]


def certificate_trouble(board: Board, snapshot: Snapshot) -> UserError | None:
    """Why the certificate the spec names cannot be served, or None."""
    name = board.spec.gateway.tls.secret_name
    if name is None:
        return None
    secret = snapshot.references.get(name)
    field = "spec.gateway.tls.secretName"
    if secret is None:
        return UserError(
            "SecretNotFound",
            f"{field} names Secret {name!r}, which does not exist in namespace"
            f" {board.namespace!r}: create it, or remove the field",
        )
    missing = [key for key in ("tls.crt", "tls.key") if not (secret.get("data") or {}).get(key)]
    if missing:
        return UserError(
            "SecretInvalid",
            f"{field} names Secret {name!r}, which has no {' and no '.join(missing)}:"
            " it must be of type kubernetes.io/tls",
        )
    return None


def settings_of(board: Board, zone: str) -> GatewaySettings:
    """Everything the configuration of one zone's pods depends on."""
    gateway = board.spec.gateway
    return GatewaySettings(
        board=board.name,
        zone=zone,
        upstreams=tuple(_upstream(board, service, zone) for service in SERVICES),
        requests_per_second=gateway.rate_limit.requests_per_second,
        burst=gateway.rate_limit.burst,
        max_body_bytes=gateway.max_body_bytes,
        memory_bytes=quantity_bytes(gateway.resources.memory),
        ports=PORTS,
        files=FILES,
        redirects=_redirects(board),
    )


def _upstream(board: Board, service: str, zone: str) -> Upstream:
    """The pods of the gateway's own zone first, those of all others alike."""
    ordered = sorted(board.zones, key=lambda other: other != zone)
    return Upstream(
        service=service,
        server_name=board.host(f"{board.name}-{service}"),
        endpoints=tuple(
            Endpoint(
                zone=other,
                host=board.host(f"{board.name}-{service}-{other}"),
                port=UPSTREAM_PORT,
                health_port=UPSTREAM_HEALTH_PORT,
                priority=0 if other == zone else 1,
            )
            for other in ordered
        ),
    )


def _redirects(board: Board) -> tuple[tuple[int, int], ...]:
    service = board.spec.gateway.service
    inside = (PORTS.http, PORTS.https)
    if service.http_node_port and service.https_node_port:
        return (inside, (service.http_node_port, service.https_node_port))
    return (inside,)


def quantity_bytes(quantity: str) -> int:
    """Bytes of a Kubernetes memory quantity such as ``192Mi`` (API validated, so it parses)."""
    factors = {"Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40}
    factors |= {"m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
    for unit, factor in factors.items():
        if quantity.endswith(unit):
            return int(float(quantity.removesuffix(unit)) * factor)
    return int(float(quantity))


def config_hash(config: Mapping[str, str]) -> str:
    """Short digest of the mounted files; Envoy reads its bootstrap once, at start."""
    digest = hashlib.sha256()
    for name in sorted(config):
        digest.update(f"{name}\0{config[name]}\0".encode())
    return digest.hexdigest()[:16]


def _labels(board: Board, zone: str | None = None) -> dict[str, str]:
    version = build.image_version(board.images.envoy)
    return build.labels(board, COMPONENT, "envoy", version=version, zone=zone)


def _service(board: Board, meta: Object, selector: Mapping[str, str]) -> Object:
    wanted = board.spec.gateway.service
    pinned = {"https": wanted.https_node_port, "http": wanted.http_node_port}
    built = build.service(
        meta,
        selector,
        {"https": PORTS.https, "http": PORTS.http},
        kind=wanted.type,
        node_ports={name: port for name, port in pinned.items() if port},
    )
    if wanted.type == "LoadBalancer":
        # Keeps client addresses, which limits count by; the balancer asks which nodes have pods.
        # With NodePort nobody asks, and a node without a pod would be a dead end.
        built["spec"]["externalTrafficPolicy"] = "Local"
    return built


def _deployment(board: Board, zone: str, config: Mapping[str, str]) -> Object:
    gateway = board.spec.gateway
    name = f"{board.name}-{COMPONENT}"
    selector = build.selector(board, COMPONENT, zone=zone)
    labels = _labels(board, zone)
    container = build.container(
        "envoy",
        board.images.envoy,
        args=["-c", f"{FILES.config}/{BOOTSTRAP}", "--concurrency", "2", "--log-level", "warning"],
        cpu=gateway.resources.cpu,
        memory=gateway.resources.memory,
        env={
            "ADMIN_PORT": str(PORTS.admin),
            "SETTLE_SECONDS": str(SETTLE_SECONDS),
            "DRAIN_SECONDS": str(DRAIN_SECONDS),
        },
        field_env={"POD_NAME": "metadata.name"},
        ports={"https": PORTS.https, "http": PORTS.http, "metrics": PORTS.metrics},
        mounts={"tmp": "/tmp"},  # noqa: S108  an emptyDir of the pod's own
        read_only_mounts={
            "config": FILES.config,
            "tls": FILES.authority,
            "public-tls": FILES.certificate,
        },
        probes={
            "startupProbe": build.http_probe("/ready", "metrics", period=2, failures=60),
            "livenessProbe": build.http_probe("/livez", "metrics", period=10, timeout=5),
            "readinessProbe": build.http_probe("/ready", "metrics", period=3, failures=2),
        },
    )
    pod = build.pod_spec(
        [container],
        zone=zone,
        volumes=[
            build.config_volume("config", f"{name}-{zone}"),
            build.secret_volume("tls", f"{name}-tls", keys=["ca.crt"]),
            build.secret_volume(
                "public-tls", gateway.tls.secret_name or f"{name}-tls", keys=["tls.crt", "tls.key"]
            ),
            build.empty_dir("tmp", limit="16Mi"),
        ],
        service_account=name,
        grace_seconds=SETTLE_SECONDS + DRAIN_SECONDS + 5,
        spread_over=selector,
    )
    return build.deployment(
        build.metadata(board, f"{name}-{zone}", labels),
        selector,
        labels,
        pod,
        replicas=gateway.replicas_per_zone,
        pod_annotations={CONFIG_HASH: config_hash(config)},
    )
