"""The one question asked by hand: the SCRAM exchange and the answer's form."""

from __future__ import annotations

import hashlib
import hmac
import struct
from base64 import b64decode, b64encode

import pytest

from scoreboard_operator.components.kafka.quorum import METADATA_TOPIC, Scram, _leader

SALT = b"0123456789abcdef"
ROUNDS = 4096


def server(password: bytes, first: bytes, final: bytes, challenge: bytes) -> bytes:
    """The server's half of RFC 5802: checks the proof and signs."""
    salted = hashlib.pbkdf2_hmac("sha512", password, SALT, ROUNDS)
    stored = hashlib.sha512(hmac.digest(salted, b"Client Key", "sha512")).digest()
    without_proof, _, proof = final.decode().rpartition(",p=")
    bare = first.decode().removeprefix("n,,")
    signed = f"{bare},{challenge.decode()},{without_proof}".encode()
    signature = hmac.digest(stored, signed, "sha512")
    key = bytes(a ^ b for a, b in zip(b64decode(proof), signature, strict=True))
    if hashlib.sha512(key).digest() != stored:
        return b"e=invalid-proof"
    server_key = hmac.digest(salted, b"Server Key", "sha512")
    return b"v=" + b64encode(hmac.digest(server_key, signed, "sha512"))


def exchange(mine: bytes, theirs: bytes) -> Scram:
    scram = Scram("admin", mine, "nonce")
    challenge = f"r=nonce-more,s={b64encode(SALT).decode()},i={ROUNDS}".encode()
    first, final = scram.first_message(), scram.final_message(challenge)
    scram.check(server(theirs, first, final, challenge))
    return scram


def test_the_right_password_opens_and_proves_the_server() -> None:
    exchange(b"secret", b"secret")


def test_the_wrong_password_does_not() -> None:
    with pytest.raises(KeyError):
        exchange(b"secret", b"another")


def test_a_challenge_of_another_login_is_refused() -> None:
    with pytest.raises(ValueError, match="nonce"):
        Scram("admin", b"secret", "mine").final_message(b"r=theirs,s=AAAA,i=4096")


def test_a_server_that_does_not_know_the_password_is_refused() -> None:
    scram = exchange(b"secret", b"secret")
    with pytest.raises(ValueError, match="signature"):
        scram.check(b"v=" + b64encode(b"x" * 64))


def answer(leader: int, outer: int = 0, inner: int = 0) -> bytes:
    name = bytes([len(METADATA_TOPIC) + 1]) + METADATA_TOPIC
    partition = struct.pack(">ihi", 0, inner, leader) + b"\0" * 20
    return struct.pack(">h", outer) + b"\x02" + name + b"\x02" + partition


def test_the_leader_is_read_from_the_answer() -> None:
    assert _leader(answer(2)) == 2
    assert _leader(answer(-1)) == -1


@pytest.mark.parametrize("codes", [(31, 0), (0, 6)])
def test_errors_of_the_answer_are_errors(codes: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="error code"):
        _leader(answer(2, *codes))
