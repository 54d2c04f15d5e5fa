"""Requests to the API server: plain dictionaries in and out, every call counted.

The official asynchronous client carries configuration, TLS, token refresh and connections;
its generated model classes are left aside, since objects here are built and compared as data.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import urlencode

from kubernetes.aio.client import Configuration
from kubernetes.aio.client.rest import RESTClientObject
from kubernetes.aio.config import ConfigException, load_incluster_config, load_kube_config

from scoreboard_operator.kube.kinds import KINDS, Kind
from scoreboard_operator.metrics import API_REQUESTS

FIELD_MANAGER = "scoreboard-operator"
REQUEST_TIMEOUT = 15.0
"""Seconds before a request is given up; the pass is repeated then."""

Object = dict[str, Any]


class ApiError(Exception):
    """The API server refused a request; ``status`` is the HTTP code, ``message`` its sentence."""

    def __init__(self, status: int, message: str, reason: str = "") -> None:
        super().__init__(f"{status}: {message}")
        self.status = status
        self.message = message
        self.reason = reason


class KubeClient:
    """One connection pool to one API server.

    ``writes`` counts mutating requests since the client was made, for per-pass accounting.
    """

    def __init__(self, configuration: Configuration) -> None:
        configuration.connection_pool_maxsize = 64
        self._configuration = configuration
        self._rest = RESTClientObject(configuration)

    @classmethod
    async def connect(cls) -> KubeClient:
        """Connect with the pod's service account, else with the current kubeconfig context."""
        configuration = Configuration()
        try:
            load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        except ConfigException:
            await load_kube_config(  # type: ignore[no-untyped-call]
                client_configuration=configuration
            )
        return cls(configuration)

    async def close(self) -> None:
        """Close all connections."""
        await self._rest.close()

    async def get(self, kind: str, namespace: str | None, name: str) -> Object | None:
        """One object, or None when it does not exist."""
        resource = KINDS[kind]
        try:
            return await self._call("GET", "get", resource, resource.path(namespace, name))
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    async def list(
        self, kind: str, namespace: str | None = None, *, selector: str | None = None
    ) -> Object:
        """The whole list object, so that its resourceVersion can start a watch."""
        resource = KINDS[kind]
        query = {"labelSelector": selector} if selector else {}
        return await self._call("GET", "list", resource, resource.path(namespace), query)

    async def apply(self, desired: Object, *, force: bool = True) -> Object:
        """Server-side apply with the operator's field manager; returns the object as stored."""
        resource = KINDS[desired["kind"]]
        meta = desired["metadata"]
        return await self._call(
            "PATCH",
            "patch",
            resource,
            resource.path(meta.get("namespace"), meta["name"]),
            {"fieldManager": FIELD_MANAGER, "force": str(force).lower()},
            desired,
            "application/apply-patch+yaml",
        )

    async def merge_patch(
        self, kind: str, namespace: str | None, name: str, patch: Object, *, status: bool = False
    ) -> Object:
        """JSON merge patch of an object or of its status."""
        resource = KINDS[kind]
        path = resource.path(namespace, name) + ("/status" if status else "")
        return await self._call(
            "PATCH",
            "patch",
            resource,
            path,
            {"fieldManager": FIELD_MANAGER},
            patch,
            "application/merge-patch+json",
        )

    async def create(self, kind: str, namespace: str | None, body: Object) -> Object:
        """POST a new object."""
        resource = KINDS[kind]
        query = {"fieldManager": FIELD_MANAGER}
        return await self._call("POST", "create", resource, resource.path(namespace), query, body)

    async def replace(self, kind: str, namespace: str | None, body: Object) -> Object:
        """PUT an object; its resourceVersion makes the write conditional."""
        resource = KINDS[kind]
        path = resource.path(namespace, body["metadata"]["name"])
        return await self._call("PUT", "update", resource, path, {}, body)

    async def delete(
        self,
        kind: str,
        namespace: str | None,
        name: str,
        *,
        uid: str | None = None,
        grace_seconds: int | None = None,
    ) -> None:
        """Delete in the background; absent is fine. ``uid`` spares a successor of that name."""
        resource = KINDS[kind]
        options: Object = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
        }
        if uid:
            options["preconditions"] = {"uid": uid}
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        try:
            await self._call(
                "DELETE", "delete", resource, resource.path(namespace, name), {}, options
            )
        except ApiError as error:
            if error.status not in (404, 409):
                raise

    async def watch(
        self, kind: str, resource_version: str, *, selector: str | None = None
    ) -> AsyncIterator[Object]:
        """Watch events of a kind in all namespaces until the server ends the stream.

        Raises:
            ApiError: 410 when ``resource_version`` is too old; list again then.
        """
        resource = KINDS[kind]
        query = {
            "watch": "true",
            "resourceVersion": resource_version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": "290",
        }
        if selector:
            query["labelSelector"] = selector
        response = await self._send("GET", "watch", resource, resource.path(), query, timeout=320)
        try:
            async for line in response.response.content:
                event = json.loads(line)
                if event["type"] == "ERROR":
                    status = event["object"]
                    raise ApiError(status.get("code", 500), status.get("message", ""))
                yield event
        finally:
            response.response.close()

    async def _call(
        self,
        method: str,
        verb: str,
        kind: Kind,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
        content_type: str = "application/json",
    ) -> Object:
        response = await self._send(method, verb, kind, path, query, body, content_type)
        data: Object = json.loads(await response.read())
        return data

    async def _send(
        self,
        method: str,
        verb: str,
        kind: Kind,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
        content_type: str = "application/json",
        timeout: float = REQUEST_TIMEOUT,
    ) -> Any:
        url = self._configuration.host + path + (f"?{urlencode(query)}" if query else "")
        headers = {"Accept": "application/json", "Content-Type": content_type}
        settings: Any = await self._configuration.auth_settings()
        for setting in settings.values():
            headers[setting["key"]] = setting["value"]
        response = await self._rest.request(  # type: ignore[no-untyped-call]
            method, url, headers=headers, body=body, _request_timeout=timeout
        )
        API_REQUESTS.labels(verb, kind.name, str(response.status)).inc()
        if response.status >= 400:
            raise _error(response.status, await response.read())
        return response


def _error(status: int, body: bytes) -> ApiError:
    try:
        document = json.loads(body)
    except ValueError:
        return ApiError(status, body.decode(errors="replace")[:300])
    return ApiError(status, document.get("message", ""), document.get("reason", ""))
