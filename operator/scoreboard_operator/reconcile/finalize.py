"""What happens when a Scoreboard is deleted.

Owned objects go by their owner references (the garbage collector). What outlives pods on purpose
(data volumes, keys and passwords, Patroni's cluster state) has no owner reference: under
``deletionPolicy: Retain`` it stays for a Scoreboard of the same name, under ``Delete`` it goes.
"""

from __future__ import annotations

import asyncio

import structlog

from scoreboard_operator.components.base import Object
from scoreboard_operator.kube.cache import Key
from scoreboard_operator.kube.client import ApiError
from scoreboard_operator.reconcile.passes import Environment

log = structlog.get_logger(__name__)

_KEPT_KINDS = ("PersistentVolumeClaim", "Secret", "ConfigMap")


async def finalize(env: Environment, key: Key, resource: Object) -> None:
    """Remove what the deletion policy says; safe to repeat, never blocks on a missing API."""
    policy = (resource.get("spec") or {}).get("deletionPolicy", "Retain")
    uid = resource["metadata"]["uid"]
    if policy == "Delete":
        doomed = [
            live
            for (kind, _), live in sorted(env.cache.children(key).items())
            if kind in _KEPT_KINDS and not _owned_by(live, uid)
        ]
        # Stop the members first: a running Patroni would write its ConfigMaps anew.
        workloads = [
            live for (kind, _), live in env.cache.children(key).items() if kind == "StatefulSet"
        ]
        await _delete_all(env, workloads)
        await _wait_for_pods(env, key)
        await _delete_all(env, doomed)
        log.info("data removed", scoreboard="/".join(key), objects=len(doomed))
    env.cache.forget(key)


def _owned_by(live: Object, uid: str) -> bool:
    return any(r.get("uid") == uid for r in live["metadata"].get("ownerReferences", []))


async def _delete_all(env: Environment, objects: list[Object]) -> None:
    for live in objects:
        meta = live["metadata"]
        try:
            await env.client.delete(live["kind"], meta["namespace"], meta["name"])
        except ApiError as error:
            log.warning("not deleted", kind=live["kind"], name=meta["name"], error=str(error))


async def _wait_for_pods(env: Environment, key: Key, limit_seconds: float = 60.0) -> None:
    deadline = asyncio.get_running_loop().time() + limit_seconds
    while asyncio.get_running_loop().time() < deadline:
        data_pods = [
            live
            for (kind, _), live in env.cache.children(key).items()
            if kind == "Pod"
            and live["metadata"].get("labels", {}).get("app.kubernetes.io/component") == "database"
        ]
        if not data_pods:
            return
        await asyncio.sleep(0.5)
