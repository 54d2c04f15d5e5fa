"""Whether values that exist can be used. (Pure.)

A value that cannot be is never replaced in silence: what was made from it (leaves, tokens, the
passwords engines know) would stop working with nobody told why. Its owner decides.
"""

from __future__ import annotations

import base64
import json
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from scoreboard_operator.components.base import UserError
from scoreboard_operator.components.certificates.authority import KeyPair


def invalid(name: str, key: str, what: str) -> UserError:
    """The error for one value of a Secret."""
    return UserError(
        "SecretInvalid",
        f"Secret {name} key {key}: {what}; restore it from a backup or delete the key to have it"
        " generated anew",
    )


def password(value: bytes) -> str | None:
    """What is wrong with a password (or any other text that must be there), or None."""
    return None if value.strip() else "it is empty"


def master_key(value: bytes) -> str | None:
    """What is wrong with the root of all request-signing keys, or None."""
    return None if len(_decoded(value.strip())) == 32 else "it is not base64url of 32 bytes"


def signing_keys(value: bytes) -> str | None:
    """What is wrong with a private JWK set, or None."""
    try:
        keys: Any = json.loads(value)["keys"]
        signers = [key for key in keys if isinstance(key, dict) and "d" in key]
        sound = all(isinstance(key, dict) for key in keys) and all(map(_is_pair, signers))
    except (ValueError, TypeError, KeyError):
        return "it is no JWK set"
    if not signers:
        return "it holds no private key"
    return None if sound else "one of its keys is not a whole Ed25519 key"


def authority(name: str, certificate: bytes | None, key: bytes | None) -> KeyPair | None:
    """The authority that exists, or None when there is none at all.

    Raises:
        UserError: half of it is missing, or it cannot sign. A new one is only made when both
            halves are gone: it makes every leaf in use worthless.
    """
    if certificate is None and key is None:
        return None
    if key is None or certificate is None:
        gone, left = ("ca.key", "ca.crt") if key is None else ("ca.crt", "ca.key")
        raise invalid(name, left, f"{gone}, which belongs to it, is missing")
    try:
        parsed = x509.load_pem_x509_certificate(certificate)
    except ValueError as error:
        raise invalid(name, "ca.crt", f"it is no PEM certificate ({_both('ca.key')})") from error
    try:
        private = serialization.load_pem_private_key(key, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise invalid(name, "ca.key", f"it is no PEM private key ({_both('ca.crt')})") from error
    if not isinstance(private, ec.EllipticCurvePrivateKey):
        raise invalid(name, "ca.key", f"it is no elliptic curve key ({_both('ca.crt')})")
    if private.public_key() != parsed.public_key():
        raise invalid(name, "ca.key", f"it does not belong to ca.crt ({_both('ca.crt')})")
    return KeyPair(certificate, key)


def _both(other: str) -> str:
    return f"{other} must go or come back with it"


def _is_pair(key: dict[str, Any]) -> bool:
    """Whether the public half of an Ed25519 JWK is that of its private half."""
    private = _decoded(str(key.get("d", "")).encode())
    if key.get("crv") != "Ed25519" or not key.get("kid") or len(private) != 32:
        return False
    public = Ed25519PrivateKey.from_private_bytes(private).public_key()
    return public.public_bytes_raw() == _decoded(str(key.get("x", "")).encode())


def _decoded(text: bytes) -> bytes:
    """Bytes of base64url without padding; none when it is something else."""
    try:
        return base64.b64decode(text + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except ValueError:
        return b""
