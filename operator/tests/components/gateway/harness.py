"""The real Envoy on 127.0.0.1 with the generated configuration, and stubs of the services.

The stubs speak TLS with certificates of a throw-away authority and publish real Ed25519 keys, so
that what is tested is what runs in a pod, only with other ports.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import itertools
import json
import os
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from scoreboard_operator.components.certificates import authority
from scoreboard_operator.components.gateway.envoy_config import BOOTSTRAP, files
from scoreboard_operator.components.gateway.settings import (
    SERVICES,
    Endpoint,
    Files,
    GatewaySettings,
    Ports,
    Upstream,
)

ZONES = ("zone-a", "zone-b")
ARGUMENTS = ("--disable-hot-restart", "--concurrency", "2", "--log-level", "warning")
ARGUMENTS += ("--file-flush-interval-msec", "200")


_ports = itertools.count(20_000 + os.getpid() * 37 % 9_000)


def free_port() -> int:
    """A port nobody listens on, below the ephemeral ones that others' connections take."""
    for port in _ports:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("unreachable")


# --- tokens ---------------------------------------------------------------------------------------


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


class Signer:
    """Signs access tokens like the user service and publishes the key."""

    def __init__(self, kid: str) -> None:
        self.kid = kid
        self.key = Ed25519PrivateKey.generate()

    def jwk(self) -> dict[str, str]:
        raw = self.key.public_key().public_bytes(
            serialization.Encoding.Raw, serialization.PublicFormat.Raw
        )
        return {"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "kid": self.kid, "x": b64(raw)}

    def token(self, **claims: Any) -> str:
        now = int(time.time())
        body = {
            "iss": "scoreboard",
            "aud": "scoreboard",
            "sub": "11111111-1111-4111-8111-111111111111",
            "sid": "22222222-2222-4222-8222-222222222222",
            "name": "ada",
            "roles": ["player"],
            "iat": now,
            "exp": now + 600,
            "jti": "x",
        } | claims
        head = {"alg": "EdDSA", "kid": self.kid, "typ": "JWT"}
        signed = ".".join(b64(json.dumps(part).encode()) for part in (head, body))
        return f"{signed}.{b64(self.key.sign(signed.encode()))}"


# --- stubs of the services ------------------------------------------------------------------------


@dataclass
class Stub:
    """One pod of one service: TLS API port and plain health port.

    ``ready`` is what /readyz says; ``behave`` is how API requests are met: ``echo`` (200 with what
    was received), ``reset`` (connection closed unanswered), ``hang`` or a status number.
    """

    service: str
    zone: str
    jwks: Callable[[], dict[str, Any]]
    port: int = field(default_factory=free_port)
    health_port: int = field(default_factory=free_port)
    ready: bool = True
    behave: str = "echo"
    requests: list[str] = field(default_factory=list)
    server: asyncio.Server | None = None

    async def start(self, tls: ssl.SSLContext) -> None:
        self.server = await asyncio.start_server(self._api, "127.0.0.1", self.port, ssl=tls)
        await asyncio.start_server(self._health, "127.0.0.1", self.health_port)

    async def _health(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while await reader.readuntil(b"\r\n\r\n"):
                status = b"200 OK" if self.ready else b"503 Service Unavailable"
                writer.write(b"HTTP/1.1 " + status + b"\r\ncontent-length: 0\r\n\r\n")
        writer.close()

    async def _api(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                method, path, _ = head[0].split(" ")
                pairs = [line.split(": ", 1) for line in head[1:] if line]
                headers = {key.lower(): value for key, value in pairs}
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                if path == "/.well-known/jwks.json":
                    self._answer(writer, 200, json.dumps(self.jwks()))
                    continue
                self.requests.append(f"{method} {path}")
                if self.behave == "reset":
                    break
                if self.behave == "hang":
                    await asyncio.sleep(30)
                if headers.get("upgrade") == "websocket":
                    await self._websocket(headers, reader, writer)
                    break
                echo = {
                    "service": self.service,
                    "zone": self.zone,
                    "method": method,
                    "path": path,
                    "headers": headers,
                    "size": len(body),
                }
                status = 200 if self.behave == "echo" else int(self.behave)
                self._answer(writer, status, json.dumps(echo))
        writer.close()

    @staticmethod
    def _answer(writer: asyncio.StreamWriter, status: int, text: str) -> None:
        head = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n"
        writer.write(f"{head}content-length: {len(text)}\r\n\r\n{text}".encode())

    @staticmethod
    async def _websocket(
        headers: dict[str, str], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Accepts and echoes short text frames (RFC 6455)."""
        magic = headers["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = base64.b64encode(hashlib.sha1(magic.encode()).digest()).decode()  # noqa: S324
        writer.write(
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
            f"sec-websocket-accept: {accept}\r\n\r\n".encode()
        )
        while True:
            first, second = await reader.readexactly(2)
            mask = await reader.readexactly(4)
            raw = await reader.readexactly(second & 0x7F)
            text = bytes(b ^ mask[i % 4] for i, b in enumerate(raw))
            writer.write(bytes([first, len(text)]) + text)
            if first & 0x0F == 8:
                return


# --- the gateway under test -----------------------------------------------------------------------


class Gateway:
    """A running Envoy with the stubs behind it."""

    def __init__(
        self, settings: GatewaySettings, stubs: list[Stub], process: subprocess.Popen[bytes]
    ) -> None:
        self.settings = settings
        self.stubs = stubs
        self.process = process
        self.url = f"https://127.0.0.1:{settings.ports.https}"
        self.trust = ssl.create_default_context(cafile=f"{settings.files.authority}/ca.crt")
        self.signer: Signer

    def client(self, source: str = "127.0.0.1") -> httpx.Client:
        """A client that trusts the throw-away authority and calls from ``source``."""
        transport = httpx.HTTPTransport(verify=self.trust, local_address=source)
        return httpx.Client(base_url=self.url, transport=transport, timeout=8)

    def stub(self, service: str, zone: str) -> Stub:
        return next(s for s in self.stubs if (s.service, s.zone) == (service, zone))

    def admin(self, path: str) -> str:
        return httpx.get(f"http://127.0.0.1:{self.settings.ports.admin}{path}").text


class Lab:
    """Makes gateways; holds the loop the stubs run in."""

    def __init__(self, binary: str, folder: Path) -> None:
        self.binary = binary
        self.folder = folder
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        self.signer = Signer("k1")
        self.keys = [self.signer]
        self.count = 0
        self.processes: list[subprocess.Popen[bytes]] = []
        now = datetime.now(UTC)
        self.authority = authority.new_authority("test", now)
        hosts = ["demo-score.demo.svc", "demo-user.demo.svc", "demo-notification.demo.svc"]
        self.tls = self.leaf("services", hosts)
        self.gateway_files = self.leaf("gateway", ["localhost"])

    def leaf(self, name: str, hosts: list[str]) -> Path:
        """A folder with tls.crt, tls.key and ca.crt, laid out like a Secret volume."""
        pair = authority.issue(self.authority, name, hosts, ["127.0.0.1"], datetime.now(UTC))
        folder = self.folder / name
        version = folder / f"..{time.monotonic_ns()}"
        version.mkdir(parents=True)
        (version / "tls.crt").write_bytes(pair.certificate)
        (version / "tls.key").write_bytes(pair.key)
        (version / "ca.crt").write_bytes(self.authority.certificate)
        link = folder / "..data_tmp"
        link.symlink_to(version.name)
        link.rename(folder / "..data")
        for file in ("tls.crt", "tls.key", "ca.crt"):
            with contextlib.suppress(FileExistsError):
                (folder / file).symlink_to(f"..data/{file}")
        return folder

    def call(self, coroutine: Any) -> Any:
        """Runs a coroutine in the stubs' loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(10)

    def start(self, **changes: Any) -> Gateway:
        """Starts stubs and Envoy and waits until it is ready with every health check done."""
        self.count += 1
        config = self.folder / f"config-{self.count}"
        config.mkdir()
        published = changes.pop("keys", self.keys)
        zones = changes.pop("zones", ZONES)
        stubs = [
            Stub(service, zone, lambda: {"keys": [key.jwk() for key in published]})
            for service in SERVICES
            for zone in zones
        ]
        server_tls = changes.pop("server_tls", self.tls)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(server_tls / "tls.crt", server_tls / "tls.key")
        for stub in stubs:
            self.call(stub.start(context))
        values: dict[str, Any] = {
            "board": "demo",
            "zone": ZONES[0],
            "upstreams": tuple(_upstream(service, stubs) for service in SERVICES),
            "requests_per_second": 50_000,
            "burst": 50_000,
            "max_body_bytes": 65536,
            "memory_bytes": 192 * 2**20,
            "address": "127.0.0.1",
            "ports": Ports(free_port(), free_port(), free_port(), free_port()),
            "files": Files(str(self.gateway_files), str(self.gateway_files), str(config)),
            "redirects": ((8080, 8443), (30080, 30443)),
            "jwks_seconds": 1,
            "request_seconds": 2,
        }
        settings = GatewaySettings(**values | changes)
        for name, text in files(settings).items():
            (config / name).write_text(text)
        with (config / "log").open("wb") as log:
            process = subprocess.Popen(
                [self.binary, "-c", str(config / BOOTSTRAP), *ARGUMENTS],
                stdout=log,
                stderr=log,
            )
        self.processes.append(process)
        gateway = Gateway(settings, stubs, process)
        gateway.signer = self.signer
        self.wait(gateway, config / "log")
        return gateway

    @staticmethod
    def wait(gateway: Gateway, log: Path) -> None:
        for _ in range(200):
            assert gateway.process.poll() is None, log.read_text()[-2000:]
            with contextlib.suppress(httpx.HTTPError):
                ready = f"http://127.0.0.1:{gateway.settings.ports.metrics}/ready"
                if httpx.get(ready).status_code == 200:
                    return
            time.sleep(0.05)
        raise AssertionError("Envoy did not become ready: " + log.read_text()[-2000:])

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()
        with contextlib.suppress(TimeoutError):
            self.call(self._stop_stubs())
        self.loop.call_soon_threadsafe(self.loop.stop)

    @staticmethod
    async def _stop_stubs() -> None:
        mine = asyncio.current_task()
        tasks = [task for task in asyncio.all_tasks() if task is not mine]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _upstream(service: str, stubs: list[Stub]) -> Upstream:
    mine = [stub for stub in stubs if stub.service == service]
    endpoints = [
        Endpoint(stub.zone, "127.0.0.1", stub.port, stub.health_port, index)
        for index, stub in enumerate(mine)
    ]
    return Upstream(service, f"demo-{service}.demo.svc", tuple(endpoints))
