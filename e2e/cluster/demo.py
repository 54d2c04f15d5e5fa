"""The sample Scoreboard and a player on it."""

from __future__ import annotations

import base64
import json
import secrets
import ssl
import time
from pathlib import Path
from typing import Any

import httpx
import yaml

from . import diagnosis, kube
from .paths import SAMPLE, cache
from .progress import Stage, console
from .shell import ClusterError

NAMESPACE = "demo"
NAME = "demo"
URL = "https://127.0.0.1:8443"
LIMIT = 900.0
"""Seconds for the sample to become Ready; four minutes are usual where its images are loaded."""

CA = cache("demo-ca.crt")
CREDENTIALS = cache("demo-player.json")

NAMESPACE_OBJECT = {
    "apiVersion": "v1",
    "kind": "Namespace",
    "metadata": {
        "name": NAMESPACE,
        "labels": {
            "pod-security.kubernetes.io/enforce": "restricted",
            "pod-security.kubernetes.io/warn": "restricted",
        },
    },
}


def ensure(stage: Stage) -> None:
    """Apply the sample and wait until it is Ready in its present generation."""
    if not SAMPLE.is_file():
        raise ClusterError(f"there is no sample at {SAMPLE}")
    kube.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(NAMESPACE_OBJECT))
    kube.kubectl("apply", "-n", NAMESPACE, "-f", str(SAMPLE))
    deadline = time.monotonic() + LIMIT
    while awaited := unready(kube.get("scoreboard", NAME, "-n", NAMESPACE)):
        if time.monotonic() > deadline:
            report = diagnosis.of(NAMESPACE, NAME)
            raise ClusterError(f"{NAME} is not Ready: {'; '.join(awaited)}\n{report}")
        stage.say(" · ".join(awaited)[:160])
        time.sleep(2)
    stage.done("Ready")


def present() -> bool:
    """Whether the sample has been applied."""
    return kube.get("scoreboard", NAME, "-n", NAMESPACE) is not None


def unready(scoreboard: dict[str, Any] | None) -> list[str]:
    """What a Scoreboard still waits for, from its conditions; empty when it is Ready.

    Ready counts only for the generation that is asked for now.
    """
    if scoreboard is None:
        return ["the API server does not answer"]
    conditions = scoreboard.get("status", {}).get("conditions", [])
    generation = scoreboard["metadata"].get("generation")
    named = {condition["type"]: condition for condition in conditions}
    ready = named.pop("Ready", None)
    if ready is None:
        return ["the operator has not seen it yet"]
    if scoreboard["status"].get("observedGeneration") != generation:
        return ["the operator has not seen this version yet"]
    if ready["status"] == "True":
        return []
    open_ones = [
        f"{c['type']}: {c.get('reason', '')} {c.get('message', '')}".strip()
        for c in named.values()
        if c["type"].endswith("Ready") and c["status"] != "True"
    ]
    stalled = named.get("Stalled")
    if stalled and stalled["status"] == "True":
        open_ones.insert(0, f"Stalled: {stalled.get('message', '')}")
    return open_ones or [f"{ready.get('reason', '')} {ready.get('message', '')}".strip()]


def ensure_player(stage: Stage) -> dict[str, str]:
    """A registered player; returns its username and password."""
    fetch_ca()
    player = _credentials()
    with httpx.Client(base_url=URL, verify=ssl.create_default_context(cafile=str(CA))) as client:
        for _ in range(30):
            try:
                if _enter(client, player):
                    stage.done(player["username"])
                    return player
            except httpx.TransportError as error:
                stage.say(f"the gateway does not answer yet: {error}")
                time.sleep(2)
    raise ClusterError(f"the gateway at {URL} does not answer")


def _enter(client: httpx.Client, player: dict[str, str]) -> bool:
    """Register the player or log it in; False when the gateway wants to be asked again."""
    answer = client.post("/api/v1/auth/register", json=player)
    if answer.status_code == 409:
        known = {name: player[name] for name in ("username", "password")}
        answer = client.post("/api/v1/auth/login", json=known)
        if answer.status_code == 401:  # the name is another machine's or an older cluster's
            player["username"] = f"demo-player-{secrets.token_hex(2)}"
            player["email"] = f"{player['username']}@example.com"
            return False
    if answer.status_code in (429, 502, 503, 504):
        time.sleep(min(float(answer.headers.get("Retry-After", 2)), 10))
        return False
    if answer.is_error:
        raise ClusterError(f"{answer.request.url} answered {answer.status_code}: {answer.text}")
    CREDENTIALS.write_text(json.dumps(player))
    CREDENTIALS.chmod(0o600)
    return True


def _credentials() -> dict[str, str]:
    if CREDENTIALS.is_file():
        stored: dict[str, str] = json.loads(CREDENTIALS.read_text())
        return stored
    return {
        "username": "demo-player",
        "email": "demo-player@example.com",
        "password": secrets.token_urlsafe(15),
    }


def fetch_ca() -> Path:
    """The certificate authority of the sample's gateway, in the cache folder."""
    secret = kube.get("secret", f"{NAME}-ca", "-n", NAMESPACE)
    if secret is None:
        raise ClusterError(f"the Secret {NAME}-ca is not there")
    CA.write_bytes(base64.b64decode(secret["data"]["ca.crt"]))
    return CA


def tell(player: dict[str, str]) -> None:
    """How to go on from here."""
    login = json.dumps({name: player[name] for name in ("username", "password")})
    console.print(f"""
[bold green]The scoreboard is up.[/]

  gateway    {URL}   (its CA: {CA})
  player     {player["username"]}   password {player["password"]}

Try next:

  curl --cacert {CA} -H 'content-type: application/json' \\
    -d '{login}' {URL}/api/v1/auth/login
  kubectl --context kind-scoreboard get scoreboard -n {NAMESPACE} {NAME}
  uv run python -m e2e.play          [dim]# post a signed score and watch the board move[/]
""")
