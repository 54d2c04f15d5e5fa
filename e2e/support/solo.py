"""The one-zone Scoreboard that tests may break, delete and make again.

It is the shipped sample `docs/samples/one-zone.yaml`, in a namespace of its own and with its
gateway on the cluster's spare port, so that the sample itself is tested too.
"""

from __future__ import annotations

from typing import Final

import yaml

from e2e.cluster.paths import ROOT
from e2e.support import cluster
from e2e.support.board import BoardHandle
from e2e.support.cluster import Object
from e2e.support.polling import eventually

NAMESPACE: Final = "e2e-solo"
SAMPLE: Final = ROOT / "docs" / "samples" / "one-zone.yaml"
NODE_PORT: Final = 30444

SOLO = BoardHandle(NAMESPACE, "solo", "https://127.0.0.1:9443")


def manifest(name: str = SOLO.name, **spec: object) -> Object:
    """The sample under another name; ``spec`` replaces whole sections."""
    documents = [d for d in yaml.safe_load_all(SAMPLE.read_text()) if d]
    sample: Object = next(d for d in documents if d["kind"] == "Scoreboard")
    return {
        **sample,
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {**sample["spec"], **_reachable(name), **spec},
    }


def _reachable(name: str) -> Object:
    if name != SOLO.name:
        return {"gateway": {}}
    return {"gateway": {"service": {"type": "NodePort", "httpsNodePort": NODE_PORT}}}


def apply(board: Object | None = None) -> None:
    """`kubectl apply` of the one-zone Scoreboard."""
    cluster.said(cluster.apply(cluster.namespace(NAMESPACE), board or manifest()))


def ensure_ready() -> BoardHandle:
    """Have the one-zone Scoreboard Ready, whatever the test before it did."""
    apply()
    SOLO.wait_ready(limit=300)
    _forget_trust()
    return SOLO


def delete(name: str = SOLO.name, limit: float = 120) -> float:
    """Delete a Scoreboard; returns the seconds until it is gone."""
    cluster.delete("Scoreboard", NAMESPACE, name)
    return eventually(
        lambda: cluster.get("Scoreboard", NAMESPACE, name) is None, f"{name} is gone", limit=limit
    ).seconds


def clear() -> None:
    """No trace of earlier runs: the namespace goes with all it holds."""
    if cluster.get("Namespace", None, NAMESPACE) is None:
        return
    for board in cluster.listing("Scoreboard", NAMESPACE):
        delete(board["metadata"]["name"])
    cluster.delete("Namespace", None, NAMESPACE)
    eventually(
        lambda: cluster.get("Namespace", None, NAMESPACE) is None,
        f"namespace {NAMESPACE} is gone",
        limit=180,
    )
    _forget_trust()


def _forget_trust() -> None:
    """A new namespace has a new CA."""
    for name in ("trust", "gateway"):
        SOLO.__dict__.pop(name, None)
