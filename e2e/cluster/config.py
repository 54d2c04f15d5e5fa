"""What the cluster is: its nodes, zones, address ranges and settings. Pure data."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import yaml

NAME = "scoreboard"
CONTEXT = f"kind-{NAME}"
CONTROL_PLANE = f"{NAME}-control-plane"
ZONES = ("zone-a", "zone-b", "zone-c")
WORKERS = (f"{NAME}-worker", f"{NAME}-worker2", f"{NAME}-worker3")
"""kind's own names, in the order of ZONES."""
NODES = (CONTROL_PLANE, *WORKERS)

NODE_SUBNET = "198.18.128.0/24"
POD_SUBNET = "198.19.0.0/18"
SERVICE_SUBNET = "198.19.64.0/20"
"""All from 198.18.0.0/15, which is set aside for tests, so that no real network is shadowed."""

PORTS = {8443: 30443, 8080: 30080, 9443: 30444, 9090: 30090}
"""Ports of 127.0.0.1 and the node ports behind them: gateway HTTPS, its redirect, two spare."""

CLUSTER_PATCH: dict[str, Any] = {
    "kind": "ClusterConfiguration",
    # One small machine runs everything: no fsync for data that lives as long as the cluster,
    # no elections among single members, no profiling.
    "etcd": {"local": {"extraArgs": [{"name": "unsafe-no-fsync", "value": "true"}]}},
    "apiServer": {"extraArgs": [{"name": "profiling", "value": "false"}]},
    "controllerManager": {
        "extraArgs": [
            {"name": "profiling", "value": "false"},
            {"name": "leader-elect", "value": "false"},
            {"name": "kube-api-qps", "value": "60"},
            {"name": "kube-api-burst", "value": "120"},
        ]
    },
    "scheduler": {
        "extraArgs": [
            {"name": "profiling", "value": "false"},
            {"name": "leader-elect", "value": "false"},
        ]
    },
}


def cluster(image: str, *, own_image: bool, restricted: bool, cgroup_v1: bool) -> str:
    """kind's configuration of the cluster, as YAML.

    `own_image`: the node image brings no pod network. `restricted`: no CAP_SYS_RESOURCE to be had.
    """
    kubelet: dict[str, Any] = {"kind": "KubeletConfiguration", "maxPods": 110}
    if cgroup_v1:
        kubelet["failCgroupV1"] = False
    config: dict[str, Any] = {
        "kind": "Cluster",
        "apiVersion": "kind.x-k8s.io/v1alpha4",
        "name": NAME,
        "networking": {
            "disableDefaultCNI": own_image,
            "podSubnet": POD_SUBNET,
            "serviceSubnet": SERVICE_SUBNET,
        },
        "kubeadmConfigPatches": [yaml.safe_dump(CLUSTER_PATCH), yaml.safe_dump(kubelet)],
        "nodes": [
            {
                "role": "control-plane",
                "image": image,
                "extraPortMappings": [
                    {"listenAddress": "127.0.0.1", "hostPort": host, "containerPort": node}
                    for host, node in PORTS.items()
                ],
            },
            *(
                {
                    "role": "worker",
                    "image": image,
                    "labels": {
                        "topology.kubernetes.io/zone": zone,
                        "topology.kubernetes.io/region": "local",
                    },
                }
                for zone in ZONES
            ),
        ],
    }
    if restricted:
        # The kubelet then takes refused kernel settings for what they are here.
        config["featureGates"] = {"KubeletInUserNamespace": True}
    return yaml.safe_dump(config, sort_keys=False)


def fingerprint(config: str) -> str:
    """What a running cluster is compared by: equal text is an equal cluster."""
    return hashlib.sha256(config.encode()).hexdigest()[:16]


def pod_network(subnet: str) -> str:
    """The CNI configuration of one node, whose pods get their addresses from `subnet`."""
    return json.dumps(
        {
            "cniVersion": "1.0.0",
            "name": "pods",
            "plugins": [
                {
                    "type": "ptp",
                    "ipMasq": False,
                    "ipam": {
                        "type": "host-local",
                        # /run is empty after a restart, as is the list of pods that had addresses
                        "dataDir": "/run/pod-addresses",
                        "ranges": [[{"subnet": subnet}]],
                        "routes": [{"dst": "0.0.0.0/0"}],
                    },
                },
                {"type": "portmap", "capabilities": {"portMappings": True}},
            ],
        },
        indent=1,
    )
