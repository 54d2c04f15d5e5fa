"""Access tokens: JWTs signed with Ed25519, and the key sets that sign and verify them.

A key set is a JWKS file. The first key of the private set is the current signer; every key of
the set verifies, which is what lets keys rotate without logging anyone out. Verified tokens are
remembered until they expire, so a busy client costs one signature check per token.
"""

import json
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol
from uuid import UUID

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from scoreboard.kit.problems import Problem

ISSUER: Final = "scoreboard"
AUDIENCE: Final = "scoreboard"
LIFETIME_SECONDS: Final = 600
LEEWAY_SECONDS: Final = 2
"""Clock difference between pods that is forgiven at iat; exp is exact."""
MAX_TOKEN_BYTES: Final = 4096
_REQUIRED: Final = ["iss", "aud", "sub", "sid", "iat", "exp", "jti"]


@dataclass(frozen=True)
class Claims:
    """Who a verified token speaks for. Times are unix seconds."""

    user_id: UUID
    session_id: UUID
    username: str
    roles: tuple[str, ...]
    issued_at: int
    expires_at: int
    token_id: str


@dataclass(frozen=True)
class KeySet:
    """Keys of a JWKS: verifiers by key id; the signer only where the file holds private parts."""

    verifiers: Mapping[str, Ed25519PublicKey]
    signer: tuple[str, Ed25519PrivateKey] | None
    public_jwks: bytes
    """The same set as JSON with public parts only, ready to be served."""


def parse_jwks(raw: bytes) -> KeySet:
    """Parse a JWKS of Ed25519 keys, private or public.

    Keys of other kinds are passed over, as RFC 7517 asks. Raises ValueError when no Ed25519 key
    remains, a key has no kid, or two share one.
    """
    keys = json.loads(raw)["keys"]
    verifiers: dict[str, Ed25519PublicKey] = {}
    public: list[dict[str, str]] = []
    signer: tuple[str, Ed25519PrivateKey] | None = None
    for key in keys:
        if key.get("kty") != "OKP" or key.get("crv") != "Ed25519":
            continue
        kid = key.get("kid")
        if not isinstance(kid, str) or not kid or kid in verifiers:
            raise ValueError("every key needs a kid of its own")
        # Named members only: whatever else a private JWK carries can never reach the public set.
        shown = {"kty": "OKP", "crv": "Ed25519", "x": key["x"]}
        loaded = jwt.PyJWK(shown, algorithm="EdDSA").key
        assert isinstance(loaded, Ed25519PublicKey)
        verifiers[kid] = loaded
        public.append({**shown, "kid": kid, "use": "sig", "alg": "EdDSA"})
        if "d" in key and signer is None:
            private = jwt.PyJWK({**shown, "d": key["d"]}, algorithm="EdDSA").key
            assert isinstance(private, Ed25519PrivateKey)
            signer = (kid, private)
    if not verifiers:
        raise ValueError("the key set has no Ed25519 key")
    return KeySet(verifiers, signer, json.dumps({"keys": public}).encode())


class KeySource(Protocol):
    """Where the key set comes from: a WatchedFile in services, a constant in tests."""

    def get(self) -> KeySet: ...


def issue(
    keys: KeySet,
    user_id: UUID,
    session_id: UUID,
    username: str,
    roles: Sequence[str],
    *,
    now: float | None = None,
    lifetime: int = LIFETIME_SECONDS,
) -> str:
    """Return a signed access token valid for `lifetime` seconds from `now` (unix seconds).

    Raises ValueError when the key set has no private key.
    """
    if keys.signer is None:
        raise ValueError("the key set cannot sign")
    kid, private = keys.signer
    issued = int(time.time() if now is None else now)
    payload = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": str(user_id),
        "sid": str(session_id),
        "name": username,
        "roles": list(roles),
        "iat": issued,
        "exp": issued + lifetime,
        "jti": uuid.uuid4().hex,
    }
    return jwt.encode(payload, private, algorithm="EdDSA", headers={"kid": kid})


class TokenVerifier:
    """Verifies access tokens against a key set, remembering those it has verified."""

    def __init__(
        self,
        keys: KeySource,
        *,
        remember: int = 20_000,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._keys = keys
        self._remember = remember
        self._clock = clock
        self._known: OrderedDict[str, Claims] = OrderedDict()
        self._known_under: KeySet | None = None

    def verify(self, token: str) -> Claims:
        """Return the claims of a valid token.

        Raises Problem token-expired or token-invalid (malformed, foreign, forged, unknown key).
        """
        keys = self._keys.get()
        if keys is not self._known_under:
            # A key may have been dropped because it leaked: nothing verified by it may survive.
            self._known.clear()
            self._known_under = keys
        now = self._clock()
        claims = self._known.get(token)
        if claims is None:
            claims = _decode(keys, token, now)
            self._known[token] = claims
            if len(self._known) > self._remember:
                self._known.popitem(last=False)
        if now >= claims.expires_at:
            self._known.pop(token, None)
            raise Problem("token-expired")
        return claims


def _decode(keys: KeySet, token: str, now: float) -> Claims:
    if len(token) > MAX_TOKEN_BYTES:
        raise Problem("token-invalid", "The token is too long.")
    try:
        kid = jwt.get_unverified_header(token).get("kid")
        key = keys.verifiers.get(kid) if isinstance(kid, str) else None
        if key is None:
            raise Problem("token-invalid", "The token's key is not known.")
        payload: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=["EdDSA"],
            issuer=ISSUER,
            audience=AUDIENCE,
            # Times are checked below against our own clock, the one tests can set.
            options={"require": _REQUIRED, "verify_exp": False, "verify_iat": False},
        )
        claims = Claims(
            user_id=UUID(payload["sub"]),
            session_id=UUID(payload["sid"]),
            username=str(payload.get("name", "")),
            roles=tuple(str(role) for role in payload.get("roles", ())),
            issued_at=int(payload["iat"]),
            expires_at=int(payload["exp"]),
            token_id=str(payload["jti"]),
        )
    except (jwt.InvalidTokenError, ValueError, TypeError, AttributeError, OverflowError) as error:
        raise Problem("token-invalid") from error
    if claims.issued_at > now + LEEWAY_SECONDS:
        raise Problem("token-invalid", "The token was issued in the future.")
    return claims
