"""Fresh secret values; each call returns another one."""

from __future__ import annotations

import base64
import json
import secrets
import uuid
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


def password() -> bytes:
    """192 random bits in an alphabet that needs no quoting anywhere."""
    return secrets.token_urlsafe(24).replace("-", "x").replace("_", "y").encode()


def master_key() -> bytes:
    """256 random bits, base64url without padding: the root of all request-signing keys."""
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).rstrip(b"=")


def cluster_id() -> bytes:
    """A Kafka cluster id: a random UUID, base64url without padding (22 characters)."""
    while (encoded := base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"="))[:1] == b"-":
        continue  # Kafka's tools would take a leading dash for an option
    return encoded


def signing_keys() -> bytes:
    """A private JWK set with one Ed25519 key (RFC 8037); the first key signs."""
    key = Ed25519PrivateKey.generate()
    raw = serialization.Encoding.Raw
    private = key.private_bytes(raw, serialization.PrivateFormat.Raw, serialization.NoEncryption())
    public = key.public_key().public_bytes(raw, serialization.PublicFormat.Raw)
    jwk = {
        "kty": "OKP",
        "crv": "Ed25519",
        "alg": "EdDSA",
        "use": "sig",
        "kid": secrets.token_hex(8),
        "x": _base64url(public),
        "d": _base64url(private),
    }
    return json.dumps({"keys": [jwk]}, sort_keys=True).encode()


def public_keys(private_set: bytes) -> bytes:
    """The public half of a private JWK set."""
    keys: list[dict[str, Any]] = json.loads(private_set)["keys"]
    public = [{name: value for name, value in key.items() if name != "d"} for key in keys]
    return json.dumps({"keys": public}, sort_keys=True).encode()


def _base64url(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()
