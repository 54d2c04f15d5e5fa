"""The cluster's life: created, found alive, repaired, or replaced; never a question asked."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from . import config, kube, tools
from .node_image import NodeImage
from .paths import KUBECONFIG, cache
from .progress import Stage
from .shell import ClusterError, attempt, output, run

NETWORK = "kind"
FINGERPRINT = "/kind/fingerprint"
"""The last thing written into a new control plane: a cluster without it is half made."""

READY_LIMIT = 240.0
REPAIR_LIMIT = 150.0
"""Seconds for all nodes to be ready after creation, and after a start or restart."""


def ensure(stage: Stage, image: NodeImage, *, restricted: bool) -> bool:
    """Have a healthy cluster of today's configuration; True when it was made anew."""
    v1 = not Path("/sys/fs/cgroup/cgroup.controllers").is_file()
    text = config.cluster(image.reference, own_image=image.own, restricted=restricted, cgroup_v1=v1)
    states = node_states()
    if states and _usable(stage, states, config.fingerprint(text)):
        export_kubeconfig()
        stage.done("running")
        return False
    if states:
        stage.say("removing what is left of an older cluster")
        delete()
    _create(stage, text, image)
    return True


def node_states() -> dict[str, str]:
    """The cluster's containers and Docker's word for the state of each (running, exited …)."""
    label = f"label=io.x-k8s.kind.cluster={config.NAME}"
    listed = attempt(["docker", "ps", "-a", "--filter", label, "--format", "{{.Names}} {{.State}}"])
    return dict(line.split() for line in listed.stdout.splitlines())


def workers() -> list[str]:
    """Names of the running worker nodes."""
    states = node_states()
    return [name for name in config.WORKERS if states.get(name) == "running"]


def delete() -> None:
    """Delete the cluster; what kind cannot delete, Docker does."""
    attempt([tools.kind(), "delete", "cluster", "--name", config.NAME], timeout=180)
    for name in node_states():
        output(["docker", "rm", "-f", "-v", name], timeout=120)


def _usable(stage: Stage, states: dict[str, str], fingerprint: str) -> bool:
    """Whether the cluster that is there is the wanted one and healthy, repairing it if need be."""
    if set(states) != set(config.NODES):
        return False
    for name, state in states.items():
        if state != "running":
            stage.say(f"starting {name}, which was {state}")
            attempt(["docker", "start", name], timeout=60)
    found = attempt(["docker", "exec", config.CONTROL_PLANE, "cat", FINGERPRINT])
    if found.stdout.strip() != fingerprint:
        stage.say("the cluster that is there is of another make")
        return False
    export_kubeconfig()
    if _ready_within(stage, 10 if "exited" not in states.values() else REPAIR_LIMIT):
        return True
    stage.say("the cluster is not healthy, waiting for it to recover")
    if _ready_within(stage, REPAIR_LIMIT):
        return True
    stage.say("restarting the nodes")
    attempt(["docker", "restart", "-t", "5", *config.NODES], timeout=180)
    return _ready_within(stage, REPAIR_LIMIT)


def _create(stage: Stage, text: str, image: NodeImage) -> None:
    _ensure_network()
    path = cache("kind.yaml")
    path.write_text(text)
    stage.say("creating four nodes")
    command = [tools.kind(), "create", "cluster", "--config", str(path)]
    command += ["--kubeconfig", str(KUBECONFIG)]
    try:
        run(stage, command)
    except ClusterError:
        stage.say("that failed; once more from nothing")
        delete()
        run(stage, command)
    if image.own:
        _set_up_pod_network(stage)
    export_kubeconfig()
    if not _ready_within(stage, READY_LIMIT):
        raise ClusterError(f"the new cluster's nodes are not ready: {unready()}")
    write(config.CONTROL_PLANE, FINGERPRINT, config.fingerprint(text))
    stage.done(f"created in {stage.seconds:.0f} s")


def _ensure_network() -> None:
    """kind takes a network of this name as it is; made here, it keeps clear of real networks."""
    if attempt(["docker", "network", "inspect", NETWORK]).returncode != 0:
        mtu = "com.docker.network.driver.mtu=1500"
        subnet = config.NODE_SUBNET
        output(["docker", "network", "create", "--subnet", subnet, "-o", mtu, NETWORK])


def _set_up_pod_network(stage: Stage) -> None:
    """Tell every node its own range of pod addresses and everybody else's."""
    stage.say("setting up the pod network")
    ranges = _pod_ranges()
    routes = "".join(f"{node} {subnet}\n" for node, subnet in ranges.items())
    for node, subnet in ranges.items():
        write(node, "/etc/cni/net.d/10-pods.conflist", config.pod_network(subnet))
        write(node, "/kind/routes", routes)


def _pod_ranges() -> dict[str, str]:
    deadline = time.monotonic() + 60
    while True:
        nodes = json.loads(
            output([tools.kubectl(), "get", "nodes", "-o", "json"], env=kube.environment())
        )
        ranges = {n["metadata"]["name"]: n["spec"].get("podCIDR", "") for n in nodes["items"]}
        if len(ranges) == len(config.NODES) and all(ranges.values()):
            return ranges
        if time.monotonic() > deadline:
            raise ClusterError(f"not every node was given a range of pod addresses: {ranges}")
        time.sleep(1)


def write(node: str, path: str, content: str) -> None:
    """Write a file inside a node."""
    script = 'mkdir -p "$(dirname "$1")" && cat > "$1"'
    output(["docker", "exec", "-i", node, "sh", "-c", script, "sh", path], stdin=content)


def export_kubeconfig() -> None:
    """Write our own kubeconfig, and the context kind-scoreboard into the user's."""
    for path in (KUBECONFIG, None):
        into = ["--kubeconfig", str(path)] if path else []
        output([tools.kind(), "export", "kubeconfig", "--name", config.NAME, *into])


def unready() -> list[str]:
    """What still keeps the cluster from being healthy, as sentences; empty when nothing does."""
    kubectl = tools.kubectl()
    if (
        attempt([kubectl, "get", "--raw", "/readyz"], timeout=10, env=kube.environment()).returncode
        != 0
    ):
        return ["the API server does not answer"]
    listed = attempt([kubectl, "get", "nodes", "-o", "json"], timeout=10, env=kube.environment())
    if listed.returncode != 0:
        return ["the API server does not list nodes"]
    return unready_nodes(json.loads(listed.stdout))


def unready_nodes(listing: dict[str, Any]) -> list[str]:
    """The nodes of a NodeList that are not Ready, each with the kubelet's reason."""
    waiting = []
    for node in listing["items"]:
        named = {c["type"]: c for c in node["status"].get("conditions", [])}
        ready = named.get("Ready", {})
        if ready.get("status") != "True":
            reason = ready.get("message") or "has not reported yet"
            waiting.append(f"{node['metadata']['name']}: {reason}")
    if len(listing["items"]) < len(config.NODES):
        waiting.append(f"{len(listing['items'])} of {len(config.NODES)} nodes are there")
    return waiting


def _ready_within(stage: Stage, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while waiting := unready():
        if time.monotonic() > deadline:
            return False
        stage.say(f"waiting: {waiting[0][:90]}")
        time.sleep(1)
    return True
