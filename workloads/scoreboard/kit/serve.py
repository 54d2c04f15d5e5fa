"""One service process: from start, through serving over TLS, to a drained end.

`create_app` makes the FastAPI application every service has in common; `run` serves it. A service
supplies routers and `resources`, an async context manager whose value (pools, clients, the
service object) is `app.state.resources` while the application runs.
"""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

import structlog
import uvicorn
import uvloop
from fastapi import APIRouter, FastAPI

from scoreboard.kit import health as health_module
from scoreboard.kit import problems, telemetry
from scoreboard.kit.health import Health
from scoreboard.kit.limits import BodyLimit
from scoreboard.kit.settings import Settings, WatchedFile

Resources = Callable[[Settings, Health], AbstractAsyncContextManager[Any]]
AppFactory = Callable[[Settings, Health], FastAPI]

KEEP_ALIVE_SECONDS: Final = 3700
"""Longer than the gateway keeps idle connections (Envoy: one hour): the side that reuses a
connection must be the side that closes it, or requests are lost to the race."""
CERTIFICATE_POLL_SECONDS: Final = 5.0

log = structlog.get_logger("scoreboard.serve")


def create_app(
    settings: Settings,
    health: Health,
    *,
    routers: Sequence[APIRouter],
    resources: Resources,
    title: str,
) -> FastAPI:
    """Return a service's application: routers, problem documents, limits, telemetry, health."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with resources(settings, health) as value:
            app.state.resources = value
            health.started = True
            log.info("started", version=settings.version)
            yield
        log.info("stopped")

    app = FastAPI(
        title=title,
        version=settings.version,
        lifespan=lifespan,
        # The document is reachable; the interactive pages would load scripts from elsewhere.
        openapi_url=f"/api/v1/openapi/{settings.service}.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.settings = settings
    app.state.health = health
    problems.install(app)
    for router in routers:
        app.include_router(router)
    app.include_router(health_module.router(settings, health))
    app.add_middleware(BodyLimit)
    app.add_middleware(telemetry.Telemetry, health=health)  # the last added is the outermost
    return app


def run(settings: Settings, build: AppFactory, **server_options: Any) -> None:
    """Serve the application until SIGTERM or SIGINT, then drain and return.

    `server_options` go to uvicorn.Config (the notification service sets WebSocket limits).
    Raises SystemExit(3) when the application does not start.
    """
    telemetry.configure(settings)
    if not uvloop.run(_serve(settings, build, server_options)):
        raise SystemExit(3)


class _Server(uvicorn.Server):
    """uvicorn's server without its signal handlers: `_serve` decides when it ends."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def _serve(settings: Settings, build: AppFactory, options: dict[str, Any]) -> bool:
    """Run the service; return whether it had started."""
    health = Health()
    # The probes' server comes first and goes last, so that starting and draining can be seen.
    probes = _Server(
        uvicorn.Config(
            health_module.metrics_app(health),
            host=settings.host,
            port=settings.metrics_port,
            lifespan="off",
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=1,
        )
    )
    config = uvicorn.Config(build(settings, health), **{**_server_config(settings), **options})
    main = _Server(config)
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _on_signal, health, stopping, main)
    probes_task = asyncio.create_task(probes.serve())
    helpers = [
        asyncio.create_task(_drain_then_stop(settings, health, stopping, main)),
        asyncio.create_task(_follow_certificate(settings, config)),
    ]
    try:
        await main.serve()
    finally:
        for task in helpers:
            task.cancel()
        probes.should_exit = True
        await asyncio.gather(probes_task, *helpers, return_exceptions=True)
    return health.started


def _server_config(settings: Settings) -> dict[str, Any]:
    config: dict[str, Any] = {
        "host": settings.host,
        "port": settings.port,
        "http": "httptools",
        "log_config": None,
        "access_log": False,
        "server_header": False,
        # The client's address is read from X-Forwarded-For in kit.requests, with its own rule.
        "proxy_headers": False,
        "timeout_keep_alive": KEEP_ALIVE_SECONDS,
        "timeout_graceful_shutdown": settings.grace_seconds,
    }
    if settings.extra.get("LISTEN_TLS", "on") != "off":  # off: for trials on a developer's machine
        config["ssl_certfile"] = str(settings.tls_dir / "tls.crt")
        config["ssl_keyfile"] = str(settings.tls_dir / "tls.key")
    return config


def _on_signal(health: Health, stopping: asyncio.Event, main: uvicorn.Server) -> None:
    if stopping.is_set():
        main.force_exit = True  # asked twice: do not wait for requests in flight
        main.should_exit = True
    health.draining.set()
    stopping.set()


async def _drain_then_stop(
    settings: Settings, health: Health, stopping: asyncio.Event, main: uvicorn.Server
) -> None:
    """Keep serving for a while after the signal, since routers learn of it a little later."""
    await stopping.wait()
    log.info("draining", seconds=settings.drain_seconds)
    if health.started:
        await asyncio.sleep(settings.drain_seconds)
    main.should_exit = True


async def _follow_certificate(settings: Settings, config: uvicorn.Config) -> None:
    """Load a renewed certificate into the running server; open connections keep the old one."""
    certificate: WatchedFile[bytes] = WatchedFile(settings.tls_dir / "tls.crt", bytes)
    seen = 0
    while True:
        await asyncio.sleep(CERTIFICATE_POLL_SECONDS)
        context = config.ssl if config.loaded else None
        if context is None:
            continue
        certificate.get()
        if seen and certificate.generation != seen:
            try:
                context.load_cert_chain(settings.tls_dir / "tls.crt", settings.tls_dir / "tls.key")
                log.info("certificate reloaded")
            except OSError as error:  # includes ssl.SSLError: a key that does not match yet
                log.error("certificate not reloaded", error=repr(error))
                continue
        seen = certificate.generation
