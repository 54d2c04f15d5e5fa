import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoreboard.kit import signing
from scoreboard.kit.problems import Problem

KEY = bytes(32)
NOW = 1_800_000_000
NONCE = "n" * 16
BODY = b'{"change":1}'
IDEMPOTENCY = "key-00000001"


def headers(**changes: str) -> dict[str, str]:
    made = signing.headers_for(KEY, NOW, NONCE, "POST", "/api/v1/scores", BODY, IDEMPOTENCY)
    sent = {name.lower(): value for name, value in made.items()}
    return sent | {"idempotency-key": IDEMPOTENCY} | changes


def refused(
    found: dict[str, str],
    *,
    key: bytes = KEY,
    method: str = "POST",
    path: str = "/api/v1/scores",
    body: bytes = BODY,
    now: float = NOW,
) -> str:
    with pytest.raises(Problem) as caught:
        signing.verify(key, found, method, path, body, now=now)
    return caught.value.code


def test_a_known_signature() -> None:
    # Pinned: clients in other languages are written against these bytes.
    assert signing.canonical("1", "n", "post", "/p", "key", b"") == (
        b"1\nn\nPOST\n/p\nkey\ne3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    )
    assert signing.encode(signing.session_key(KEY, uuid.UUID(int=1))) == (
        "fCPSKOyM5TStXtsa5ptlg5BnX3PMPu11rfkHXsn7vFs"
    )


@given(st.binary(max_size=200), st.text("/abc", max_size=20), st.sampled_from(["POST", "PUT"]))
def test_what_was_signed_verifies(body: bytes, path: str, method: str) -> None:
    made = signing.headers_for(KEY, NOW, NONCE, method, path, body)
    found = signing.verify(
        KEY, {k.lower(): v for k, v in made.items()}, method, path, body, now=NOW
    )
    assert (found.timestamp, found.nonce) == (NOW, NONCE)


@given(st.integers(0, len(BODY) * 8 - 1))
def test_any_flipped_bit_of_the_body_is_noticed(bit: int) -> None:
    changed = bytearray(BODY)
    changed[bit // 8] ^= 1 << bit % 8
    assert refused(headers(), body=bytes(changed)) == "signature-invalid"


def test_every_signed_part_counts() -> None:
    other = signing.session_key(KEY, uuid.uuid4())
    assert refused(headers(), key=other) == "signature-invalid"
    assert refused(headers(), method="PUT") == "signature-invalid"
    assert refused(headers(), path="/api/v1/score") == "signature-invalid"
    assert refused(headers(**{"x-signature-nonce": "m" * 16})) == "signature-invalid"
    assert refused(headers(**{"x-signature-timestamp": str(NOW + 1)})) == "signature-invalid"


def test_a_captured_request_cannot_be_sent_under_another_idempotency_key() -> None:
    # The nonce store (Redis) fails open, so the key must be bound by the signature itself.
    assert refused(headers(**{"idempotency-key": "key-00000002"})) == "signature-invalid"
    found = headers()
    del found["idempotency-key"]
    assert refused(found) == "signature-invalid"


@pytest.mark.parametrize("name", ["x-signature", "x-signature-nonce", "x-signature-timestamp"])
def test_a_missing_header_is_missing_and_a_malformed_one_invalid(name: str) -> None:
    found = headers()
    del found[name]
    assert refused(found) == "signature-missing"
    for bad in ("", "ü" * 20, "v2=" + "0" * 64, "1e9"):
        assert refused(headers(**{name: bad})) == "signature-invalid"


@pytest.mark.parametrize(
    ("age", "accepted"), [(0, True), (60, True), (61, False), (-30, True), (-31, False)]
)
def test_the_window_of_the_timestamp(age: int, accepted: bool) -> None:
    if accepted:
        signing.verify(KEY, headers(), "POST", "/api/v1/scores", BODY, now=NOW + age)
    else:
        assert refused(headers(), now=NOW + age) == "timestamp-stale"


@given(st.binary(min_size=32, max_size=32))
def test_the_master_key_file(key: bytes) -> None:
    assert signing.parse_master_key(signing.encode(key).encode() + b"\n") == key


@pytest.mark.parametrize("raw", [b"", b"short", b"!" * 43, b"A" * 44])
def test_a_bad_master_key_is_refused(raw: bytes) -> None:
    with pytest.raises(ValueError, match="master key"):
        signing.parse_master_key(raw)


def test_csrf_and_signing_keys_of_a_session_differ() -> None:
    session = uuid.uuid4()
    assert signing.csrf_token(KEY, session) != signing.encode(signing.session_key(KEY, session))
