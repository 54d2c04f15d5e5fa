import base64
import json
import uuid
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from scoreboard.kit.problems import Problem
from scoreboard.kit.tokens import KeySet, TokenVerifier, issue, parse_jwks

NOW = 1_800_000_000
USER = uuid.UUID(int=7)
SESSION = uuid.UUID(int=8)


def private_jwk(kid: str) -> dict[str, str]:
    key = Ed25519PrivateKey.generate()

    def text(raw: bytes) -> str:
        return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()

    return {
        "kty": "OKP",
        "crv": "Ed25519",
        "kid": kid,
        "d": text(key.private_bytes_raw()),
        "x": text(key.public_key().public_bytes_raw()),
    }


def jwks(*keys: dict[str, str]) -> KeySet:
    return parse_jwks(json.dumps({"keys": keys}).encode())


OLD = private_jwk("old")
NEW = private_jwk("new")


class Source:
    def __init__(self, keys: KeySet) -> None:
        self.keys = keys

    def get(self) -> KeySet:
        return self.keys


class Clock:
    now: float = NOW

    def __call__(self) -> float:
        return self.now


def token(keys: KeySet, **options: Any) -> str:
    return issue(keys, USER, SESSION, "alice", ["player"], now=NOW, **options)


def refused(verifier: TokenVerifier, text: str) -> str:
    with pytest.raises(Problem) as caught:
        verifier.verify(text)
    return caught.value.code


def test_a_token_says_what_was_put_in() -> None:
    keys = jwks(NEW)
    claims = TokenVerifier(Source(keys), clock=Clock()).verify(token(keys))
    assert (claims.user_id, claims.session_id, claims.username) == (USER, SESSION, "alice")
    assert claims.roles == ("player",)
    assert claims.expires_at - claims.issued_at == 600


def test_the_first_key_signs_and_all_verify_until_dropped() -> None:
    source = Source(jwks(NEW, OLD))
    verifier = TokenVerifier(source, clock=Clock())
    by_old = token(jwks(OLD))
    assert jwt.get_unverified_header(token(source.keys))["kid"] == "new"
    verifier.verify(by_old)
    source.keys = jwks(NEW)
    assert refused(verifier, by_old) == "token-invalid", "also when it was verified before"


def test_the_public_set_has_no_private_part() -> None:
    document = json.loads(jwks({**NEW, "surprise": "secret"}).public_jwks)
    assert set(document["keys"][0]) == {"kty", "crv", "kid", "x", "use", "alg"}
    assert parse_jwks(json.dumps(document).encode()).signer is None


def test_expiry_is_exact_also_for_remembered_tokens() -> None:
    keys, clock = jwks(NEW), Clock()
    verifier = TokenVerifier(Source(keys), clock=clock)
    text = token(keys)
    clock.now = NOW + 599.9
    verifier.verify(text)
    clock.now = NOW + 600
    assert refused(verifier, text) == "token-expired"
    assert refused(TokenVerifier(Source(keys), clock=clock), text) == "token-expired"


def test_a_token_from_the_future_is_refused() -> None:
    keys, clock = jwks(NEW), Clock()
    clock.now = NOW - 10
    assert refused(TokenVerifier(Source(keys), clock=clock), token(keys)) == "token-invalid"


@pytest.mark.parametrize(
    "change",
    [
        {"iss": "other"},
        {"aud": "other"},
        {"sub": "not-a-uuid"},
        {"sid": None},
        {"jti": None},
        {"exp": None},
        {"exp": "soon"},
        {"roles": 7},
    ],
)
def test_claims_that_are_wrong_or_missing(change: dict[str, Any]) -> None:
    keys = jwks(NEW)
    assert keys.signer is not None
    payload = jwt.decode(token(keys), options={"verify_signature": False})
    payload = {k: v for k, v in (payload | change).items() if v is not None}
    forged = jwt.encode(payload, keys.signer[1], algorithm="EdDSA", headers={"kid": "new"})
    assert refused(TokenVerifier(Source(keys), clock=Clock()), forged) == "token-invalid"


def test_other_algorithms_are_refused() -> None:
    keys = jwks(NEW)
    payload = jwt.decode(token(keys), options={"verify_signature": False})
    secret = base64.urlsafe_b64decode(NEW["x"] + "=")
    for algorithm, key in (("none", None), ("HS256", secret)):
        forged = jwt.encode(payload, key, algorithm=algorithm, headers={"kid": "new"})
        assert refused(TokenVerifier(Source(keys), clock=Clock()), forged) == "token-invalid"


@given(st.integers(0, 2000), st.sampled_from("AZaz09-_."))
def test_any_changed_character_is_noticed(position: int, letter: str) -> None:
    keys = jwks(NEW)
    text = token(keys)
    position %= len(text)
    changed = text[:position] + letter + text[position + 1 :]
    raw = [part + "=" * (-len(part) % 4) for part in changed.split(".")]
    same = changed.count(".") == 2 and all(
        base64.urlsafe_b64decode(a) == base64.urlsafe_b64decode(b + "=" * (-len(b) % 4))
        for a, b in zip(raw, text.split("."), strict=True)
        if len(a) % 4 == 0 and len(a.rstrip("=")) % 4 != 1
    )
    if not same:  # the last character of a part has bits that mean nothing
        assert refused(TokenVerifier(Source(keys), clock=Clock()), changed) == "token-invalid"


@given(st.text(max_size=60) | st.binary(max_size=60).map(lambda raw: raw.decode("latin-1")))
def test_noise_is_not_a_token(text: str) -> None:
    assert refused(TokenVerifier(Source(jwks(NEW))), text) == "token-invalid"


@pytest.mark.parametrize(
    "document",
    [
        '{"keys":[]}',
        '{"keys":[{"kty":"RSA","kid":"a"}]}',
        "{}",
        "[]",
        json.dumps({"keys": [OLD, OLD]}),
    ],
)
def test_bad_key_sets(document: str) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        parse_jwks(document.encode())


def test_verified_tokens_are_forgotten_when_there_are_too_many() -> None:
    keys = jwks(NEW)
    verifier = TokenVerifier(Source(keys), remember=3, clock=Clock())
    for _ in range(10):
        verifier.verify(token(keys))
    assert len(verifier._known) == 3
