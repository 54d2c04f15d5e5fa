"""Pure builders shared by every component: names and labels, pods, Services, readiness.

Components say what differs; what every object of a Scoreboard has in common stands here once.
"""

from scoreboard_operator.components.build.labels import (
    RETAIN_ANNOTATION,
    image_version,
    labels,
    metadata,
    selector,
)
from scoreboard_operator.components.build.objects import (
    config_map,
    deployment,
    disruption_budget,
    role,
    role_binding,
    service,
    service_account,
    stateful_set,
    volume_claim,
)
from scoreboard_operator.components.build.pods import (
    config_volume,
    container,
    empty_dir,
    http_probe,
    pod_spec,
    secret_volume,
    tcp_probe,
)
from scoreboard_operator.components.build.readiness import (
    pod_ready,
    pod_trouble,
    waiting_message,
    workload_current,
    workload_ready,
)

__all__ = [
    "RETAIN_ANNOTATION",
    "config_map",
    "config_volume",
    "container",
    "deployment",
    "disruption_budget",
    "empty_dir",
    "http_probe",
    "image_version",
    "labels",
    "metadata",
    "pod_ready",
    "pod_spec",
    "pod_trouble",
    "role",
    "role_binding",
    "secret_volume",
    "selector",
    "service",
    "service_account",
    "stateful_set",
    "tcp_probe",
    "volume_claim",
    "waiting_message",
    "workload_current",
    "workload_ready",
]
