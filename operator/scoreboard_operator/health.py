"""The operator's HTTP side: /healthz, /readyz and /metrics on one plain port."""

from __future__ import annotations

import time

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from scoreboard_operator.kube.cache import ObjectCache
from scoreboard_operator.reconcile.loop import LAST_BACKOFF_SECONDS, PASS_LIMIT_SECONDS, Keepers

SILENCE_SECONDS = 360.0
"""Watches are renewed every 290 s and send bookmarks about every minute; longer silence than this
means that they are dead."""


PASS_SILENCE_SECONDS = PASS_LIMIT_SECONDS + LAST_BACKOFF_SECONDS + 60


class Health:
    """Whether this replica still does its part, as standby or as leader."""

    def __init__(self) -> None:
        self._cache: ObjectCache | None = None
        self._keepers: Keepers | None = None

    def lead(self, cache: ObjectCache, keepers: Keepers) -> None:
        """From now on this replica leads."""
        self._cache, self._keepers = cache, keepers

    def trouble(self) -> str | None:
        """What is wrong, or None. A standby that answers at all is well."""
        if self._cache is None or self._keepers is None:
            return None
        now = time.monotonic()
        for key, ended in self._keepers.last_pass.items():
            if now - ended > PASS_SILENCE_SECONDS:
                return f"no pass of {'/'.join(key)} has ended for {now - ended:.0f} s"
        kind, seconds = self._cache.silence
        if seconds > SILENCE_SECONDS:
            return f"no word from the watch of {kind} for {seconds:.0f} s"
        return None


async def serve(health: Health, port: int) -> web.AppRunner:
    """Start the HTTP server; the caller cleans the runner up."""

    async def healthz(_: web.Request) -> web.Response:
        trouble = health.trouble()
        return web.Response(text=trouble or "ok", status=503 if trouble else 200)

    async def metrics(_: web.Request) -> web.Response:
        body = generate_latest()
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", healthz)
    app.router.add_get("/metrics", metrics)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "0.0.0.0", port).start()  # noqa: S104
    return runner
