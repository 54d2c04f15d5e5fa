"""What happens when a Scoreboard is deleted.

Owned objects go by their owner references (the garbage collector). What outlives pods on purpose
(data volumes, keys and passwords, Patroni's cluster state) has no owner reference: under
``deletionPolicy: Retain`` it stays for a Scoreboard of the same name, under ``Delete`` it goes.

The finalizer is ours and is taken off last, so a crash anywhere starts the same work again. Nothing
here waits: a pass that finds pods still running ends, and the next one looks again.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import structlog

from scoreboard_operator.api import BOARD_LABEL, KIND, MANAGED_BY
from scoreboard_operator.components.base import Object
from scoreboard_operator.kube.cache import ObjectCache
from scoreboard_operator.kube.client import ApiError, KubeClient

log = structlog.get_logger(__name__)

FINALIZER = "scoreboard.dev/finalizer"

PATIENCE = timedelta(minutes=2)
"""Pods that have not ended so long after the deletion are not waited for any longer: a namespace,
and a node that is gone, must never keep a Scoreboard from being deleted."""

_KEPT_KINDS = ("PersistentVolumeClaim", "Secret", "ConfigMap")


async def ensure_finalizer(client: KubeClient, cache: ObjectCache, resource: Object) -> int:
    """Put the finalizer on a Scoreboard that lacks it; returns the number of writes."""
    present = resource["metadata"].get("finalizers", [])
    if FINALIZER in present:
        return 0
    await _write_finalizers(client, cache, resource, [*present, FINALIZER])
    return 1


async def finalize(client: KubeClient, cache: ObjectCache, resource: Object) -> bool:
    """Do what the deletion policy asks and let the resource go; False while pods still run.

    Raises:
        ApiError: a deletion was refused; the next pass tries again, the resource stays.
    """
    meta = resource["metadata"]
    remaining = meta.get("finalizers", [])
    if FINALIZER not in remaining:
        return True
    policy = (resource.get("spec") or {}).get("deletionPolicy", "Retain")
    if policy == "Delete" and not await _delete_data(client, resource):
        return False
    others = [name for name in remaining if name != FINALIZER]
    await _write_finalizers(client, cache, resource, others)
    log.info("let go", scoreboard=meta["name"], namespace=meta["namespace"], policy=policy)
    return True


async def _delete_data(client: KubeClient, resource: Object) -> bool:
    """Stop the members, then delete what they kept; False while members still run.

    Everything is listed from the API server itself, not from a cache that may lag behind.
    """
    meta = resource["metadata"]
    namespace = meta["namespace"]
    selector = f"app.kubernetes.io/managed-by={MANAGED_BY},{BOARD_LABEL}={meta['name']}"
    # Members first: a running Patroni would write its ConfigMaps anew.
    for workload in (await client.list("StatefulSet", namespace, selector=selector))["items"]:
        await client.delete("StatefulSet", namespace, workload["metadata"]["name"])
    pods = (await client.list("Pod", namespace, selector=selector))["items"]
    members = [pod for pod in pods if _component(pod) in ("database", "kafka", "cache")]
    if members and _since(meta["deletionTimestamp"]) < PATIENCE:
        return False
    for kind in _KEPT_KINDS:
        for kept in (await client.list(kind, namespace, selector=selector))["items"]:
            await client.delete(kind, namespace, kept["metadata"]["name"])
    log.info("data removed", scoreboard=meta["name"], namespace=namespace)
    return True


async def _write_finalizers(
    client: KubeClient, cache: ObjectCache, resource: Object, names: list[str]
) -> None:
    meta = resource["metadata"]
    # The version makes the write conditional: a finalizer someone added meanwhile is not lost.
    patch = {"metadata": {"finalizers": names, "resourceVersion": meta["resourceVersion"]}}
    try:
        stored = await client.merge_patch(KIND, meta["namespace"], meta["name"], patch)
    except ApiError as error:
        if error.status == 404:
            return
        raise
    if not stored["metadata"].get("deletionTimestamp"):
        cache.absorb(stored)


def _component(pod: Object) -> str:
    return str(pod["metadata"].get("labels", {}).get("app.kubernetes.io/component", ""))


def _since(timestamp: str) -> timedelta:
    return datetime.now(UTC) - datetime.fromisoformat(timestamp)
