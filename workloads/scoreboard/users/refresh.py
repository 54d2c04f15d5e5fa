"""Refresh tokens: format, rotation and reuse (pure).

A token is `r1.<user id hex>.<session id hex>.<secret>`; the user id finds the shard. The secret
is 16 random bytes and a 16-byte MAC over them and both ids, base64url. Only the SHA-256 of the
whole token is stored. The MAC makes a token that was once issued recognisable after its hash is
gone, so that reuse of any earlier token can be told from a guess: reuse revokes the session, a
guess must not (else whoever knows a session id could log its owner out).

On rotation the successor is stored encrypted under a key derived from the token it replaces.
Callers racing with the same token can therefore all be handed the same successor, while the
database alone gives nobody a usable token. A client whose answer got lost, as happens at every
failover, comes back with the token it has once more, and is handed that successor too: for
LOST_ANSWER_SECONDS, and only until the successor is used, since then the row no longer holds the
earlier hash.
"""

import base64
import binascii
import enum
import hashlib
import hmac
import math
import os
import re
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from scoreboard.kit.problems import Problem
from scoreboard.kit.signing import encode

GRACE_SECONDS: Final = 10
"""So long after a rotation a token from before the previous one may be a slow twin's."""
LOST_ANSWER_SECONDS: Final = 300
"""So long after a rotation the previous token still yields the successor: longer than a failover
with its retries, shorter than an access token lives, so that an old copy is of little use."""
_MAC_CONTEXT: Final = b"scoreboard/refresh-mac/v1:"
_SEAL_CONTEXT: Final = b"scoreboard/refresh-successor/v1:"
_FORM: Final = re.compile(r"r1\.([0-9a-f]{32})\.([0-9a-f]{32})\.([A-Za-z0-9_-]{43})")
_NONCE_BYTES: Final = 12


@dataclass(frozen=True)
class RefreshToken:
    """A parsed refresh token; `text` is what the client holds. Never log it."""

    user_id: UUID
    session_id: UUID
    secret: str

    @property
    def text(self) -> str:
        """The token as the client holds it."""
        return f"r1.{self.user_id.hex}.{self.session_id.hex}.{self.secret}"

    @property
    def digest(self) -> bytes:
        """What the sessions table stores: SHA-256 of the text."""
        return hashlib.sha256(self.text.encode()).digest()

    def __repr__(self) -> str:
        return f"RefreshToken(session_id={self.session_id})"


def mint(master: bytes, user_id: UUID, session_id: UUID) -> RefreshToken:
    """Return a new token of a session; `master` is the request-signing master key."""
    random = os.urandom(16)
    secret = encode(random + _mac(master, user_id, session_id, random))
    return RefreshToken(user_id, session_id, secret)


def parse(text: str) -> RefreshToken:
    """Parse what a client presents. Raises Problem token-invalid when it has not the form."""
    match = _FORM.fullmatch(text)
    if match is None:
        raise Problem("token-invalid", "This is not a refresh token.")
    return RefreshToken(UUID(match[1]), UUID(match[2]), match[3])


def is_authentic(master: bytes, token: RefreshToken) -> bool:
    """Tell whether a token was issued by us at some time."""
    try:
        raw = base64.urlsafe_b64decode(token.secret + "=")
    except binascii.Error:
        return False
    expected = _mac(master, token.user_id, token.session_id, raw[:16])
    # Re-encoding rules out a second spelling of the same bytes (the last character has spare bits).
    return hmac.compare_digest(raw[16:], expected) and encode(raw) == token.secret


def seal(old: RefreshToken, successor: RefreshToken) -> bytes:
    """Encrypt the successor so that only a holder of the old token can read it."""
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + AESGCM(_seal_key(old)).encrypt(nonce, successor.text.encode(), None)


def unseal(old: RefreshToken, sealed: bytes) -> RefreshToken:
    """Return the successor sealed under `old`. Raises ValueError when it is not."""
    try:
        nonce, ciphertext = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
        text = AESGCM(_seal_key(old)).decrypt(nonce, ciphertext, None).decode()
    except InvalidTag as error:
        raise ValueError("the successor is sealed under another token") from error
    return parse(text)


def _mac(master: bytes, user_id: UUID, session_id: UUID, random: bytes) -> bytes:
    message = _MAC_CONTEXT + user_id.bytes + session_id.bytes + random
    return hmac.digest(master, message, "sha256")[:16]


def _seal_key(old: RefreshToken) -> bytes:
    return hashlib.sha256(_SEAL_CONTEXT + old.text.encode()).digest()


@dataclass(frozen=True)
class SessionState:
    """What a session's row says at the moment a token is presented."""

    refresh_hash: bytes
    previous_hash: bytes | None
    revoked: bool
    expired: bool
    user_active: bool
    rotated_ago: float | None
    """Seconds since the last rotation by the database's clock; None before the first."""


class Verdict(enum.Enum):
    """What to do with a presented refresh token."""

    ROTATE = "rotate"
    """It is the current token."""
    SAME_SUCCESSOR = "same-successor"
    """Its successor was never used: a racing caller, or an answer that got lost."""
    REUSE = "reuse"
    """It was replaced longer ago and is used again: somebody has a copy. Revoke the session."""
    REVOKED = "revoked"
    EXPIRED = "expired"
    INVALID = "invalid"


def judge(state: SessionState | None, presented: bytes, *, authentic: bool) -> Verdict:
    """Decide on a token by its hash; `authentic` tells whether its MAC is ours."""
    if state is None:
        return Verdict.INVALID
    current = hmac.compare_digest(presented, state.refresh_hash)
    previous = state.previous_hash is not None and hmac.compare_digest(
        presented, state.previous_hash
    )
    if not (current or previous or authentic):
        return Verdict.INVALID
    if state.revoked or not state.user_active:
        return Verdict.REVOKED
    if state.expired:
        return Verdict.EXPIRED
    if current:
        return Verdict.ROTATE
    ago = state.rotated_ago if state.rotated_ago is not None else math.inf
    if previous and ago <= LOST_ANSWER_SECONDS:
        return Verdict.SAME_SUCCESSOR
    if not previous and ago <= GRACE_SECONDS:
        # An older token right after a rotation may be a slow twin of two quick refreshes. It is
        # refused, but the session of an honest client is not taken away for it.
        return Verdict.INVALID
    return Verdict.REUSE
