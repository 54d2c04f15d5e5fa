"""Leader election with a ``coordination.k8s.io`` Lease.

The holder renews every ``RENEW_SECONDS``; a standby takes over once the record has not changed for
``DURATION_SECONDS`` by *its own* clock (so clock skew between nodes does not matter). On an orderly
stop the holder releases the Lease, and a standby that polls every ``POLL_SECONDS`` takes it within
about a second.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime

import aiohttp
import structlog

from scoreboard_operator.kube.client import ApiError, KubeClient, Object

log = structlog.get_logger(__name__)

DURATION_SECONDS = 12
RENEW_SECONDS = 3.0
GIVE_UP_SECONDS = 9.0
"""A holder that could not renew for so long stops, before any standby may take over."""
POLL_SECONDS = 1.0
RETRY_SECONDS = 1.0
REQUEST_SECONDS = 5.0


class Lease:
    """One candidate for the Lease ``name`` in ``namespace``."""

    def __init__(self, client: KubeClient, namespace: str, name: str, identity: str) -> None:
        self._client = client
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._seen: tuple[object, ...] = ()
        self._seen_at = time.monotonic()
        self._renewed_at = time.monotonic()

    async def acquire(self) -> None:
        """Wait until this candidate holds the Lease."""
        while not await self._attempt(REQUEST_SECONDS):  # noqa: ASYNC110 - the Lease is elsewhere
            await asyncio.sleep(POLL_SECONDS)
        self._renewed_at = time.monotonic()

    async def hold(self) -> None:
        """Renew until another holds the Lease or it could not be renewed in time; then return.

        It returns no later than ``GIVE_UP_SECONDS`` after the last renewal began, which is before
        any other candidate may take the Lease.
        """
        pause = RENEW_SECONDS
        while True:
            await asyncio.sleep(pause)
            left = GIVE_UP_SECONDS - (time.monotonic() - self._renewed_at)
            before = time.monotonic()
            held = await self._attempt(min(REQUEST_SECONDS, left)) if left > 0 else None
            if held:
                self._renewed_at, pause = before, RENEW_SECONDS
            elif held is False or time.monotonic() - self._renewed_at >= GIVE_UP_SECONDS:
                log.error("lease lost", lease=self._name, taken=held is False)
                return
            else:
                pause = min(RETRY_SECONDS, GIVE_UP_SECONDS - (time.monotonic() - before))

    async def release(self) -> None:
        """Give the Lease up, so that a standby takes it at its next poll."""
        try:
            lease = await self._client.get("Lease", self._namespace, self._name)
            if lease and lease["spec"].get("holderIdentity") == self._identity:
                lease["spec"]["holderIdentity"] = ""
                lease["spec"]["renewTime"] = _now()
                await self._client.replace("Lease", self._namespace, lease)
        except (ApiError, aiohttp.ClientError, TimeoutError) as error:
            log.warning("lease not released; it will expire", error=str(error))

    async def _attempt(self, timeout: float) -> bool | None:
        """One try to take or renew: held, held by another (False), or unknown (None)."""
        try:
            return await asyncio.wait_for(self._try(), timeout)
        except ApiError as error:
            if error.status not in (404, 409):
                log.warning("lease not reachable", error=str(error))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            log.warning("lease not reachable", error=repr(error))
        return None

    async def _try(self) -> bool:
        """Take or renew the Lease; every write is conditional on the version that was read."""
        lease = await self._client.get("Lease", self._namespace, self._name)
        if lease is None:
            await self._client.create("Lease", self._namespace, self._fresh())
            return True
        spec = lease.setdefault("spec", {})
        holder = spec.get("holderIdentity") or ""
        record = (holder, spec.get("renewTime"), spec.get("leaseTransitions"))
        if record != self._seen:
            self._seen, self._seen_at = record, time.monotonic()
        expired = time.monotonic() - self._seen_at > spec.get(
            "leaseDurationSeconds", DURATION_SECONDS
        )
        if holder and holder != self._identity and not expired:
            return False
        if holder != self._identity:
            spec["leaseTransitions"] = spec.get("leaseTransitions", 0) + 1
            spec["acquireTime"] = _now()
        spec["holderIdentity"] = self._identity
        spec["leaseDurationSeconds"] = DURATION_SECONDS
        spec["renewTime"] = _now()
        await self._client.replace("Lease", self._namespace, lease)
        return True

    def _fresh(self) -> Object:
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self._name, "namespace": self._namespace},
            "spec": {
                "holderIdentity": self._identity,
                "leaseDurationSeconds": DURATION_SECONDS,
                "acquireTime": _now(),
                "renewTime": _now(),
                "leaseTransitions": 0,
            },
        }


def _now() -> str:
    """The instant as the API server wants a MicroTime (RFC 3339, microseconds)."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
