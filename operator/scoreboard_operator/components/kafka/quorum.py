"""Asks a broker which controller is the active one (DescribeQuorum, KIP-595). Blocking.

The admin client has no such call, and what it names as the controller is any broker that is
alive: in KRaft mode brokers hide the real one from clients. Three requests of Kafka's protocol
over one connection of the CLIENT listener are all it takes: two to log in by SCRAM (RFC 5802) and
the question itself. It is asked only while a restart is due.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import socket
import ssl
import struct
from base64 import b64decode, b64encode

SASL_HANDSHAKE, SASL_AUTHENTICATE, DESCRIBE_QUORUM = 17, 36, 55
MECHANISM = "SCRAM-SHA-512"
LARGEST_ANSWER = 1 << 20
METADATA_TOPIC = b"__cluster_metadata"


class QuorumUnknown(ConnectionError):  # noqa: N818  a state of the world, not a bug
    """No broker could say who the active controller is."""


def active_controller(host: str, port: int, ca: bytes, password: bytes, seconds: float) -> int:
    """Node id of the active controller.

    Raises:
        QuorumUnknown: not reachable within ``seconds``, refused, or no controller is active.
    """
    context = ssl.create_default_context(cadata=ca.decode())
    try:
        with (
            socket.create_connection((host, port), timeout=seconds) as plain,
            context.wrap_socket(plain, server_hostname=host) as connection,
        ):
            connection.settimeout(seconds)
            _log_in(connection, "admin", password)
            leader = _leader(
                _ask(connection, DESCRIBE_QUORUM, 0, _quorum_question(), flexible=True)
            )
    except (OSError, struct.error, ValueError, KeyError) as error:
        raise QuorumUnknown(f"the active controller is unknown: {error}") from error
    if leader < 0:
        raise QuorumUnknown("no controller is active")
    return leader


def _log_in(connection: ssl.SSLSocket, user: str, password: bytes) -> None:
    mechanism = MECHANISM.encode()
    body = struct.pack(">h", len(mechanism)) + mechanism
    _expect_success(_ask(connection, SASL_HANDSHAKE, 1, body))
    scram = Scram(user, password, secrets.token_hex(16))
    final = scram.final_message(_authenticate(connection, scram.first_message()))
    scram.check(_authenticate(connection, final))


def _authenticate(connection: ssl.SSLSocket, message: bytes) -> bytes:
    answer = _ask(connection, SASL_AUTHENTICATE, 1, struct.pack(">i", len(message)) + message)
    _expect_success(answer)
    (length,) = struct.unpack_from(">h", answer, 2)
    start = 4 + max(0, length)
    (size,) = struct.unpack_from(">i", answer, start)
    return answer[start + 4 : start + 4 + size]


def _expect_success(answer: bytes) -> None:
    (code,) = struct.unpack_from(">h", answer)
    if code:
        raise ValueError(f"error code {code}")


def _ask(
    connection: ssl.SSLSocket, key: int, version: int, body: bytes, *, flexible: bool = False
) -> bytes:
    """One request; returns the answer's body. Flexible messages end their header in a tag count."""
    client = b"scoreboard-operator"
    header = struct.pack(">hhih", key, version, 1, len(client)) + client
    message = header + (b"\0" if flexible else b"") + body
    connection.sendall(struct.pack(">i", len(message)) + message)
    (size,) = struct.unpack(">i", _receive(connection, 4))
    if not 4 <= size <= LARGEST_ANSWER:
        raise ValueError(f"an answer of {size} bytes")
    return _receive(connection, size)[5 if flexible else 4 :]


def _receive(connection: ssl.SSLSocket, count: int) -> bytes:
    parts = bytearray()
    while len(parts) < count:
        part = connection.recv(count - len(parts))
        if not part:
            raise ConnectionError("the broker closed the connection")
        parts += part
    return bytes(parts)


def _quorum_question() -> bytes:
    """One topic with partition 0; compact lengths are one more than the length."""
    topic = bytes([len(METADATA_TOPIC) + 1]) + METADATA_TOPIC
    partition = struct.pack(">i", 0) + b"\0"
    return b"\x02" + topic + b"\x02" + partition + b"\0" + b"\0"


def _leader(answer: bytes) -> int:
    _expect_success(answer)
    # Error code, one topic, its name, one partition: index, error code, leader.
    at = 2 + 1 + 1 + len(METADATA_TOPIC) + 1
    _, code, leader = struct.unpack_from(">ihi", answer, at)
    if code:
        raise ValueError(f"error code {code}")
    return int(leader)


class Scram:
    """The client's half of SCRAM-SHA-512 (RFC 5802) for one login. (Pure.)"""

    def __init__(self, user: str, password: bytes, nonce: str) -> None:
        self._bare = f"n={user},r={nonce}"
        self._nonce = nonce
        self._password = password
        self._server_signature = b""

    def first_message(self) -> bytes:
        """What opens the exchange."""
        return f"n,,{self._bare}".encode()

    def final_message(self, challenge: bytes) -> bytes:
        """The proof that answers the server's challenge.

        Raises:
            ValueError: the challenge is not one for this login.
        """
        parts = _attributes(challenge)
        nonce, salt, rounds = parts["r"], b64decode(parts["s"]), int(parts["i"])
        if not nonce.startswith(self._nonce):
            raise ValueError("the server's nonce does not continue ours")
        salted = hashlib.pbkdf2_hmac("sha512", self._password, salt, rounds)
        client_key = _sign(salted, b"Client Key")
        without_proof = f"c=biws,r={nonce}"
        signed = f"{self._bare},{challenge.decode()},{without_proof}".encode()
        signature = _sign(hashlib.sha512(client_key).digest(), signed)
        proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
        self._server_signature = _sign(_sign(salted, b"Server Key"), signed)
        return f"{without_proof},p={b64encode(proof).decode()}".encode()

    def check(self, outcome: bytes) -> None:
        """Make sure that the server knows the password too.

        Raises:
            ValueError: it does not.
        """
        claimed = b64decode(_attributes(outcome)["v"])
        if not hmac.compare_digest(claimed, self._server_signature):
            raise ValueError("the server's signature is wrong")


def _attributes(message: bytes) -> dict[str, str]:
    return dict(part.split("=", 1) for part in message.decode().split(",") if "=" in part)


def _sign(key: bytes, message: bytes) -> bytes:
    return hmac.new(key, message, hashlib.sha512).digest()
