import json
import uuid
from datetime import UTC, datetime
from typing import Any
from unittest.mock import AsyncMock, Mock

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from scoreboard.kit.problems import Problem
from scoreboard.kit.signing import encode
from scoreboard.kit.tokens import parse_jwks
from scoreboard.users import refresh
from scoreboard.users.refresh import RefreshToken, SessionState, Verdict
from scoreboard.users.repository import User
from scoreboard.users.service import UserService

MASTER = bytes(32)
USER, SESSION = uuid.UUID(int=1), uuid.UUID(int=2)


def mint() -> refresh.RefreshToken:
    return refresh.mint(MASTER, USER, SESSION)


def test_a_token_survives_the_journey() -> None:
    token = mint()
    assert refresh.parse(token.text) == token
    assert refresh.is_authentic(MASTER, token)
    assert len(token.text) < 200
    assert token.secret not in repr(token)


@given(st.integers(0, 42), st.sampled_from("ABab09-_"))
def test_a_guess_is_not_authentic(position: int, letter: str) -> None:
    token = mint()
    secret = token.secret[:position] + letter + token.secret[position + 1 :]
    guess = refresh.RefreshToken(USER, SESSION, secret)
    assert refresh.is_authentic(MASTER, guess) == (secret == token.secret)


def test_authenticity_is_bound_to_user_session_and_key() -> None:
    secret = mint().secret
    assert not refresh.is_authentic(MASTER, refresh.RefreshToken(uuid.uuid4(), SESSION, secret))
    assert not refresh.is_authentic(MASTER, refresh.RefreshToken(USER, uuid.uuid4(), secret))
    assert not refresh.is_authentic(b"\1" * 32, refresh.RefreshToken(USER, SESSION, secret))


@given(st.text(max_size=150) | st.from_regex(r"r1\.[0-9a-fA-F]{30,34}\.[0-9a-f]{32}\..{40,45}"))
def test_parse_takes_its_own_form_and_nothing_else(text: str) -> None:
    try:
        token = refresh.parse(text)
    except Problem as problem:
        assert problem.code == "token-invalid"  # noqa: PT017  both outcomes are right
    else:
        assert token.text == text


def test_only_the_holder_of_the_old_token_reads_the_successor() -> None:
    old, successor = mint(), mint()
    sealed = refresh.seal(old, successor)
    assert refresh.unseal(old, sealed) == successor
    assert successor.secret.encode() not in sealed
    for wrong in (mint(), successor):
        with pytest.raises(ValueError, match="sealed"):
            refresh.unseal(wrong, sealed)


def state(
    current: bytes, previous: bytes | None, *, ago: float | None = None, **changes: bool
) -> SessionState:
    return SessionState(
        current,
        previous,
        revoked=changes.get("revoked", False),
        expired=changes.get("expired", False),
        user_active=changes.get("user_active", True),
        rotated_ago=ago,
    )


@pytest.mark.parametrize(
    ("presented", "authentic", "ago", "verdict"),
    [
        (b"now", True, None, Verdict.ROTATE),
        (b"now", True, 1, Verdict.ROTATE),
        (b"before", True, 1, Verdict.SAME_SUCCESSOR),
        # The answer was lost in a failover; its retry comes when the client has got over it.
        (b"before", True, 300, Verdict.SAME_SUCCESSOR),
        (b"before", True, 301, Verdict.REUSE),
        (b"long ago", True, None, Verdict.REUSE),
        (b"long ago", True, 11, Verdict.REUSE),
        (b"long ago", True, 10, Verdict.INVALID),
        (b"guess", False, 11, Verdict.INVALID),
        # After the master key changed MACs do not verify; the hashes still do.
        (b"now", False, 11, Verdict.ROTATE),
        (b"before", False, 11, Verdict.SAME_SUCCESSOR),
    ],
)
def test_verdicts_on_a_live_session(
    presented: bytes, authentic: bool, ago: float | None, verdict: Verdict
) -> None:
    found = state(b"now", b"before", ago=ago)
    assert refresh.judge(found, presented, authentic=authentic) is verdict


@given(
    st.sampled_from([b"now", b"before", b"other"]),
    st.booleans(),
    st.none() | st.floats(0, 1000),
    st.booleans(),
)
def test_a_dead_session_hands_out_nothing(
    presented: bytes, authentic: bool, ago: float | None, first: bool
) -> None:
    flags = [{"revoked": True}, {"expired": True}, {"user_active": False}]
    for flag in flags:
        found = state(b"now", None if first else b"before", ago=ago, **flag)
        verdict = refresh.judge(found, presented, authentic=authentic)
        assert verdict in (Verdict.REVOKED, Verdict.EXPIRED, Verdict.INVALID)


NOW = datetime(2026, 1, 1, tzinfo=UTC)
OWNER = User(USER, "ann", "a@example.org", "Ann", None, "x", ["player"], "active", 1, NOW, NOW)
_KEY = Ed25519PrivateKey.generate()
_JWK = {
    "kty": "OKP",
    "crv": "Ed25519",
    "kid": "k",
    "d": encode(_KEY.private_bytes_raw()),
    "x": encode(_KEY.public_key().public_bytes_raw()),
}
KEYS = Mock(get=lambda: parse_jwks(json.dumps({"keys": [_JWK]}).encode()))


class Row:
    """A session's row, and a database whose answers may get lost after the commit."""

    def __init__(self, token: RefreshToken) -> None:
        self.current, self.previous = token.digest, b""
        self.sealed = b""
        self.now = self.rotated = 0.0
        self.lose_answers = False
        self.revoked: list[str] = []

    async def rotate(
        self, old: RefreshToken, successor: RefreshToken, sealed: bytes
    ) -> User | None:
        if old.digest != self.current:
            return None
        self.current, self.previous = successor.digest, old.digest
        self.sealed, self.rotated = sealed, self.now
        if self.lose_answers:
            raise ConnectionError
        return OWNER

    async def session_state(self, token: RefreshToken) -> tuple[SessionState, bytes, User]:
        found = state(self.current, self.previous, ago=self.now - self.rotated)
        return found, self.sealed, OWNER

    async def revoke_session(self, user_id: uuid.UUID, session_id: uuid.UUID, why: str) -> bool:
        self.revoked.append(why)
        return True

    def service(self) -> UserService:
        nobody: Any = AsyncMock()
        repository: Any = self
        return UserService(
            repository=repository,
            claims=nobody,
            passwords=nobody,
            throttles=nobody,
            gate=nobody,
            keys=KEYS,
            master_key=lambda: MASTER,
        )


async def test_an_answer_lost_in_a_failover_logs_nobody_out() -> None:
    first = mint()
    row = Row(first)
    service = row.service()
    row.lose_answers = True
    with pytest.raises(ConnectionError):
        await service.refresh(first)
    row.lose_answers = False
    row.now = 90
    second = refresh.parse((await service.refresh(first)).refresh_token)
    assert second.digest == row.current
    row.now = 120
    assert (await service.refresh(first)).refresh_token == second.text
    assert row.revoked == []


async def test_a_token_is_reused_once_its_successor_was_seen() -> None:
    first = mint()
    row = Row(first)
    service = row.service()
    row.now = 60
    second = refresh.parse((await service.refresh(first)).refresh_token)
    row.now = 70
    await service.refresh(second)
    row.now = 81
    with pytest.raises(Problem) as caught:
        await service.refresh(first)
    assert caught.value.code == "session-revoked"
    assert row.revoked == ["refresh-reuse"]


def test_an_unknown_session_is_invalid() -> None:
    assert refresh.judge(None, b"now", authentic=True) is Verdict.INVALID
