"""A client of the public API as a game would have one: it knows the contract and no internals.

Signing is written out here on its own, from the documented contract, so that a mistake the
services share with their own library does not go unseen.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import ssl
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

import httpx

SCORES = "/api/v1/scores"
PROBLEM_TYPE = "https://scoreboard.dev/problems/"

Json = dict[str, Any]


def signature_headers(
    key: str,
    method: str,
    path: str,
    body: bytes,
    *,
    idempotency_key: str = "",
    timestamp: int | None = None,
) -> dict[str, str]:
    """The three headers that sign a request; ``key`` is the login's ``signing_key``."""
    stamp = str(int(time.time()) if timestamp is None else timestamp)
    nonce = secrets.token_hex(16)
    digest = hashlib.sha256(body).hexdigest()
    text = "\n".join([stamp, nonce, method, path, idempotency_key, digest])
    secret = base64.urlsafe_b64decode(key + "=" * (-len(key) % 4))
    signed = hmac.new(secret, text.encode(), "sha256").hexdigest()
    return {
        "X-Signature-Timestamp": stamp,
        "X-Signature-Nonce": nonce,
        "X-Signature": f"v1={signed}",
    }


@dataclass
class Session:
    """What a login gave."""

    access_token: str
    refresh_token: str
    signing_key: str
    session_id: str
    user_id: str
    username: str

    @property
    def bearer(self) -> dict[str, str]:
        """The header that authenticates."""
        return {"Authorization": f"Bearer {self.access_token}"}


@dataclass
class Gateway:
    """One gateway by its base URL, trusted through one CA."""

    url: str
    trust: ssl.SSLContext
    http: httpx.Client = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.http = httpx.Client(base_url=self.url, verify=self.trust, timeout=15, trust_env=False)

    def register(self, username: str, password: str) -> httpx.Response:
        """POST auth/register."""
        body = {"username": username, "email": f"{username}@example.com", "password": password}
        return self.http.post("/api/v1/auth/register", json=body)

    def login(self, username: str, password: str) -> Session:
        """POST auth/login; AssertionError when it is refused."""
        answer = self.http.post(
            "/api/v1/auth/login", json={"username": username, "password": password}
        )
        assert answer.status_code == 200, f"login of {username}: {answer.status_code} {answer.text}"
        data = answer.json()
        return Session(
            access_token=data["access_token"],
            refresh_token=data["refresh_token"],
            signing_key=data["signing_key"],
            session_id=data["session_id"],
            user_id=data["user"]["id"],
            username=data["user"]["username"],
        )

    def leaderboard(self, **query: str | int) -> Json:
        """GET leaderboard."""
        answer = self.http.get("/api/v1/leaderboard", params=query)
        assert answer.status_code == 200, f"leaderboard: {answer.status_code} {answer.text}"
        found: Json = answer.json()
        return found

    def player(self, prefix: str = "e2e") -> Player:
        """A new player, registered and logged in."""
        username, password = f"{prefix}-{secrets.token_hex(4)}", secrets.token_urlsafe(12)
        answer = self.register(username, password)
        assert answer.status_code == 201, f"register: {answer.status_code} {answer.text}"
        return Player(self, self.login(username, password), password)


@dataclass
class Player:
    """A player who is logged in."""

    gateway: Gateway
    session: Session
    password: str = field(repr=False)

    @property
    def id(self) -> str:
        """The user id."""
        return self.session.user_id

    def post_score(
        self,
        change: int,
        *,
        key: str | None = None,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        timestamp: int | None = None,
    ) -> httpx.Response:
        """POST scores, signed; ``body`` and ``headers`` replace what would be sent otherwise."""
        content = body or json.dumps({"action_type": "default", "change": change}).encode()
        sent = {**self.signed_headers(content, key=key, timestamp=timestamp), **(headers or {})}
        return self.gateway.http.post(SCORES, content=content, headers=sent)

    def signed_headers(
        self, body: bytes, *, key: str | None = None, timestamp: int | None = None
    ) -> dict[str, str]:
        """All headers of a valid score write with this body."""
        key = key or uuid.uuid4().hex
        signed = signature_headers(
            self.session.signing_key,
            "POST",
            SCORES,
            body,
            idempotency_key=key,
            timestamp=timestamp,
        )
        named = {"Content-Type": "application/json", "Idempotency-Key": key}
        return {**named, **self.session.bearer, **signed}

    def add(self, change: int) -> Json:
        """Post a score that has to be accepted; returns the answer."""
        answer = self.post_score(change)
        assert answer.status_code == 201, f"score: {answer.status_code} {answer.text}"
        found: Json = answer.json()
        return found

    def score(self) -> Json:
        """GET one's own score."""
        answer = self.gateway.http.get(
            f"/api/v1/users/{self.id}/score", headers=self.session.bearer
        )
        assert answer.status_code == 200, f"own score: {answer.status_code} {answer.text}"
        found: Json = answer.json()
        return found

    def step_down(self) -> None:
        """Give all points back, so that repeated runs leave no crowd at the top of the board."""
        answer = self.gateway.http.get(
            f"/api/v1/users/{self.id}/score", headers=self.session.bearer
        )
        score = answer.json()["score"] if answer.is_success else 0
        if score:
            self.post_score(-score)


def problem_of(answer: httpx.Response) -> Json:
    """The problem document of an error answer; AssertionError when it is not a whole one."""
    media = answer.headers.get("content-type", "")
    assert media.startswith("application/problem+json"), f"{answer.status_code} {media}"
    document: Json = answer.json()
    assert document["type"] == PROBLEM_TYPE + document["code"]
    assert document["status"] == answer.status_code
    for member in ("title", "detail", "instance"):
        assert document.get(member), f"{document['code']} has no {member}"
    return document
