"""The REST client against a small TLS server on 127.0.0.1 that answers like Patroni."""

from __future__ import annotations

import ssl
from base64 import b64encode
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import encode_basic_auth, web
from boards import board, snapshot
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from scoreboard_operator.components.base import Object, Snapshot
from scoreboard_operator.components.database import rest


def certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate for localhost that is its own authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    chain, private = folder / "tls.crt", folder / "tls.key"
    chain.write_bytes(built.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return chain, private


def secret(name: str, **data: bytes) -> Object:
    encoded = {key.replace("_", "."): b64encode(value).decode() for key, value in data.items()}
    return {"kind": "Secret", "metadata": {"name": name}, "data": encoded}


class Patroni:
    """Remembers requests; answers what ``answers`` says for a path, as (status, text)."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, str]] = {}
        self.seen: list[tuple[str, str, str | None, str]] = []

    async def handle(self, request: web.Request) -> web.Response:
        authorization = request.headers.get("Authorization")
        body = await request.text()
        self.seen.append((request.method, request.path, authorization, body))
        status, text = self.answers.get(request.path, (200, "{}"))
        return web.Response(status=status, text=text)


@pytest.fixture
async def patroni(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Patroni, Snapshot]]:
    chain, private = certificate(tmp_path)
    fake = Patroni()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", fake.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(chain, private)
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    port = runner.addresses[0][1]
    monkeypatch.setattr(rest, "_url", lambda host, path: f"https://{host}:{port}{path}")
    passwords = {"kind": "Secret", "metadata": {"name": "demo-db-credentials"}}
    passwords["data"] = {"operator-password": b64encode(b"pw").decode()}
    yield fake, snapshot(secret("demo-operator-tls", ca_crt=chain.read_bytes()), passwords)
    await runner.cleanup()


async def ask(seen: Snapshot, path: str, host: str = "localhost") -> dict[str, Any] | None:
    context = rest.trust(board(), seen)
    assert context is not None
    async with rest.session(context) as http:
        return await rest.ask(http, host, path)


async def test_answers_are_read_whatever_their_status(patroni: tuple[Patroni, Snapshot]) -> None:
    fake, seen = patroni
    fake.answers["/patroni"] = (503, '{"role": "replica"}')
    assert await ask(seen, "/patroni") == {"role": "replica"}


@pytest.mark.parametrize("answer", ["not json", "[1]"])
async def test_nonsense_is_no_answer(patroni: tuple[Patroni, Snapshot], answer: str) -> None:
    fake, seen = patroni
    fake.answers["/patroni"] = (200, answer)
    assert await ask(seen, "/patroni") is None


async def test_a_name_the_certificate_lacks_is_no_answer(
    patroni: tuple[Patroni, Snapshot],
) -> None:
    _, seen = patroni
    assert await ask(seen, "/patroni", host="127.0.0.1") is None


async def test_orders_carry_the_operators_password(patroni: tuple[Patroni, Snapshot]) -> None:
    fake, seen = patroni
    await rest.tell(board(), seen, "localhost", "/switchover", {"leader": "a"}, 5)
    method, path, authorization, body = fake.seen[0]
    assert (method, path, body) == ("POST", "/switchover", '{"leader": "a"}')
    assert authorization == encode_basic_auth(rest.USER, "pw")


async def test_a_refusal_says_why(patroni: tuple[Patroni, Snapshot]) -> None:
    fake, seen = patroni
    fake.answers["/switchover"] = (412, "no good candidates have been found")
    with pytest.raises(rest.RefusedError, match="412 no good candidates"):
        await rest.tell(board(), seen, "localhost", "/switchover", {}, 5)


@pytest.mark.parametrize(
    "answer", [(401, "not authenticated"), (503, "restart conditions are not satisfied")]
)
async def test_what_passes_by_itself_is_no_failure(
    patroni: tuple[Patroni, Snapshot], answer: tuple[int, str]
) -> None:
    fake, seen = patroni
    fake.answers["/restart"] = answer
    await rest.tell(board(), seen, "localhost", "/restart", {}, 5)
    assert len(fake.seen) == 1


async def test_nothing_is_sent_without_keys() -> None:
    await rest.tell(board(), Snapshot(), "localhost", "/restart", {}, 5)
    assert rest.trust(board(), Snapshot()) is None
