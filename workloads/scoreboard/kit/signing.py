"""Signatures of write requests (pure): the per-session key and the HMAC over a request.

At login a client gets `signing_key`, derived from the master key and the session id, so any
replica can check a signature without a look-up. It signs

    timestamp LF nonce LF METHOD LF path LF Idempotency-Key LF hex(sha256(body))

with HMAC-SHA256 and sends X-Signature-Timestamp, X-Signature-Nonce and `X-Signature: v1=<hex>`.
The path is without the query; the key is empty when the header is absent. That a nonce is used
once is checked in Redis; when Redis is away, a captured request can still only be replayed under
its own Idempotency-Key, because the key is signed, and so changes nothing a second time.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from scoreboard.kit.problems import Problem

CONTEXT: Final = b"scoreboard/request-signing/v1:"
CSRF_CONTEXT: Final = b"scoreboard/csrf/v1:"
MAX_AGE_SECONDS: Final = 60
MAX_AHEAD_SECONDS: Final = 30
_NONCE: Final = re.compile(r"[\x21-\x7e]{16,64}")
_SIGNATURE: Final = re.compile(r"v1=([0-9a-f]{64})")
_TIMESTAMP: Final = re.compile(r"[0-9]{1,12}")


@dataclass(frozen=True)
class SignedRequest:
    """The verified signature headers of a request: unix seconds and the nonce."""

    timestamp: int
    nonce: str


def parse_master_key(raw: bytes) -> bytes:
    """Parse the master-key file: base64url (padding optional) of 32 bytes, else ValueError."""
    text = raw.strip()
    try:
        key = base64.b64decode(text + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError("the master key is not base64url") from error
    if len(key) != 32:
        raise ValueError("the master key is not 32 bytes long")
    return key


def encode(raw: bytes) -> str:
    """Return base64url without padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def session_key(master: bytes, session_id: UUID) -> bytes:
    """Return the 32-byte signing key of a session."""
    return hmac.digest(master, CONTEXT + str(session_id).encode(), "sha256")


def csrf_token(master: bytes, session_id: UUID) -> str:
    """Return the session's CSRF token: bound to the session, so a planted cookie is no use."""
    return encode(hmac.digest(master, CSRF_CONTEXT + str(session_id).encode(), "sha256"))


def canonical(
    timestamp: str, nonce: str, method: str, path: str, idempotency_key: str, body: bytes
) -> bytes:
    """Return the bytes that are signed."""
    digest = hashlib.sha256(body).hexdigest()
    return "\n".join([timestamp, nonce, method.upper(), path, idempotency_key, digest]).encode()


def sign(
    key: bytes,
    timestamp: int,
    nonce: str,
    method: str,
    path: str,
    body: bytes,
    idempotency_key: str = "",
) -> str:
    """Return the value of X-Signature for a request."""
    message = canonical(str(timestamp), nonce, method, path, idempotency_key, body)
    return "v1=" + hmac.digest(key, message, "sha256").hex()


def headers_for(
    key: bytes,
    timestamp: int,
    nonce: str,
    method: str,
    path: str,
    body: bytes,
    idempotency_key: str = "",
) -> dict[str, str]:
    """Return the three signature headers for a request (clients and tests)."""
    return {
        "X-Signature-Timestamp": str(timestamp),
        "X-Signature-Nonce": nonce,
        "X-Signature": sign(key, timestamp, nonce, method, path, body, idempotency_key),
    }


def verify(
    key: bytes, headers: Mapping[str, str], method: str, path: str, body: bytes, *, now: float
) -> SignedRequest:
    """Check a request's signature and return its timestamp and nonce.

    `headers` is looked up by lower-case name (Starlette's Headers and plain lower-case dicts
    both do); `now` is unix seconds. Raises Problem: signature-missing when a header is absent,
    signature-invalid when one is malformed or the HMAC differs, timestamp-stale when the
    timestamp is more than 60 s old or 30 s ahead.
    """
    values = [headers.get(f"x-signature{suffix}") for suffix in ("-timestamp", "-nonce", "")]
    if any(value is None for value in values):
        raise Problem(
            "signature-missing",
            "Send X-Signature-Timestamp, X-Signature-Nonce and X-Signature with this request.",
        )
    timestamp, nonce, signature = (value or "" for value in values)
    match = _SIGNATURE.fullmatch(signature)
    if not _TIMESTAMP.fullmatch(timestamp) or not _NONCE.fullmatch(nonce) or match is None:
        raise Problem("signature-invalid", "A signature header is malformed.")
    message = canonical(timestamp, nonce, method, path, headers.get("idempotency-key") or "", body)
    expected = hmac.digest(key, message, "sha256").hex()
    if not hmac.compare_digest(match[1], expected):
        raise Problem("signature-invalid")
    # Only after the HMAC: an unsigned stranger learns nothing about our clock.
    age = now - int(timestamp)
    if not -MAX_AHEAD_SECONDS <= age <= MAX_AGE_SECONDS:
        raise Problem("timestamp-stale", f"The timestamp is {age:+.0f} s from the server's clock.")
    return SignedRequest(int(timestamp), nonce)
