"""Deletion: what each policy removes, in which order, and after a crash at any point."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from scoreboard_operator.kube.client import ApiError
from scoreboard_operator.reconcile.finalize import FINALIZER, PATIENCE, ensure_finalizer, finalize


class Api:
    """An API server with a few objects; ``fails_at`` refuses the n-th write."""

    def __init__(self, *objects: tuple[str, str]) -> None:
        self.objects = list(objects)
        self.log: list[str] = []
        self.finalizers: list[str] | None = None
        self.fails_at = -1

    async def list(self, kind: str, namespace: str, *, selector: str) -> dict[str, Any]:
        assert "scoreboard.dev/scoreboard=demo" in selector
        labels = {"app.kubernetes.io/component": "database"}
        return {
            "items": [
                {"metadata": {"name": name, "labels": labels}}
                for stored, name in self.objects
                if stored == kind
            ]
        }

    def _write(self, entry: str) -> None:
        if len(self.log) == self.fails_at:
            self.fails_at = -1
            raise ApiError(500, "away")
        self.log.append(entry)

    async def delete(self, kind: str, namespace: str, name: str) -> None:
        self._write(f"delete {kind}")
        self.objects.remove((kind, name))

    async def merge_patch(self, kind: str, namespace: str, name: str, patch: Any) -> Any:
        self._write("finalizers")
        self.finalizers = patch["metadata"]["finalizers"]
        return {"kind": kind, "metadata": {"deletionTimestamp": "now"}}


KEPT = (("PersistentVolumeClaim", "data"), ("Secret", "keys"), ("ConfigMap", "patroni"))


def _resource(policy: str, age: timedelta = timedelta()) -> dict[str, Any]:
    deleted = (datetime.now(UTC) - age).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "metadata": {
            "name": "demo",
            "namespace": "demo",
            "uid": "u",
            "resourceVersion": "7",
            "finalizers": ["theirs", FINALIZER],
            "deletionTimestamp": deleted,
        },
        "spec": {"deletionPolicy": policy},
    }


async def _finalize(api: Api, resource: dict[str, Any]) -> bool:
    return await finalize(api, None, resource)  # type: ignore[arg-type]


async def test_retain_keeps_everything_and_lets_go() -> None:
    api = Api(*KEPT)
    assert await _finalize(api, _resource("Retain"))
    assert api.log == ["finalizers"]
    assert api.finalizers == ["theirs"]
    assert len(api.objects) == 3


async def test_delete_stops_members_before_it_removes_their_data() -> None:
    api = Api(("StatefulSet", "db"), ("Pod", "db-0"), *KEPT)
    assert not await _finalize(api, _resource("Delete"))
    assert api.log == ["delete StatefulSet"]
    api.objects.remove(("Pod", "db-0"))
    assert await _finalize(api, _resource("Delete"))
    assert api.objects == []
    assert api.log[-1] == "finalizers"


async def test_a_pod_that_never_ends_is_not_waited_for_for_ever() -> None:
    api = Api(("Pod", "db-0"), *KEPT)
    assert await _finalize(api, _resource("Delete", PATIENCE + timedelta(seconds=5)))
    assert api.objects == [("Pod", "db-0")]


@pytest.mark.parametrize("write", range(5))
async def test_a_refused_write_keeps_the_resource_and_the_next_pass_goes_on(write: int) -> None:
    api = Api(("StatefulSet", "db"), *KEPT)
    api.fails_at = write
    with pytest.raises(ApiError):
        await _finalize(api, _resource("Delete"))
    assert api.finalizers is None
    assert await _finalize(api, _resource("Delete"))
    assert api.objects == []
    assert api.finalizers == ["theirs"]


async def test_the_finalizer_is_put_on_once() -> None:
    api = Api()
    resource = _resource("Retain")
    assert await ensure_finalizer(api, None, resource) == 0  # type: ignore[arg-type]
    resource["metadata"]["finalizers"] = ["theirs"]
    assert await ensure_finalizer(api, None, resource) == 1  # type: ignore[arg-type]
    assert api.finalizers == ["theirs", FINALIZER]
