"""What clients meet at the gateway: tokens, sizes, routes, headers and problem documents."""

from __future__ import annotations

import http.client
import json
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.sync.client import connect

from .harness import Signer, b64

SCORES = "/api/v1/scores"


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """Checks that an answer is a problem document of the common form."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    document: dict[str, Any] = answer.json()
    assert set(document) == {"type", "code", "title", "status", "detail", "instance"}
    assert document["code"] == code
    assert document["type"] == f"https://scoreboard.dev/problems/{code}"
    assert document["status"] == status
    assert document["instance"] == answer.headers["x-request-id"]
    return document


def test_token_is_verified_and_forwarded(client: Any, bearer: Any) -> None:
    answer = client.post(SCORES, headers=bearer, json={"change": 1})
    assert answer.status_code == 200
    seen = answer.json()
    assert (seen["service"], seen["method"], seen["path"]) == ("score", "POST", SCORES)
    assert seen["headers"]["authorization"] == bearer["authorization"]
    assert seen["headers"]["host"].startswith("127.0.0.1")


@pytest.mark.parametrize("scheme", ["Bearer", "bearer"])
def test_scheme_in_either_case(client: Any, gateway: Any, scheme: str) -> None:
    headers = {"authorization": f"{scheme} {gateway.signer.token()}"}
    assert client.get("/api/v1/users/me", headers=headers).status_code == 200


def test_token_in_the_browser_cookie(client: Any, gateway: Any) -> None:
    headers = {"cookie": f"other=1; __Host-sb_access={gateway.signer.token()}"}
    answer = client.get("/api/v1/users/me", headers=headers)
    assert answer.status_code == 200
    assert "__Host-sb_access=" in answer.json()["headers"]["cookie"]


def test_missing_token(client: Any) -> None:
    answer = client.post(SCORES, json={})
    problem(answer, 401, "unauthenticated")
    assert answer.headers["www-authenticate"] == 'Bearer realm="scoreboard"'


def test_token_in_the_query_does_not_count(client: Any, gateway: Any) -> None:
    answer = client.get(f"/api/v1/users/me?access_token={gateway.signer.token()}")
    problem(answer, 401, "unauthenticated")


def test_expired_token(client: Any, gateway: Any) -> None:
    token = gateway.signer.token(exp=int(time.time()) - 30)
    answer = client.get("/api/v1/users/me", headers={"authorization": f"Bearer {token}"})
    problem(answer, 401, "token-expired")
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]


def test_token_expires_although_it_was_verified_before(client: Any, gateway: Any) -> None:
    # Five seconds of clock skew pass; a verified token must not outlive them in Envoy's cache.
    token = gateway.signer.token(exp=int(time.time()) - 3)
    headers = {"authorization": f"Bearer {token}"}
    assert client.get("/api/v1/users/me", headers=headers).status_code == 200
    time.sleep(3.2)
    problem(client.get("/api/v1/users/me", headers=headers), 401, "token-expired")


def _tampered(token: str) -> str:
    """The token with other claims under the same signature."""
    head, _, signature = token.split(".")
    claims = {"iss": "scoreboard", "aud": "scoreboard", "sub": "mallory", "exp": 9_000_000_000}
    return f"{head}.{b64(json.dumps(claims).encode())}.{signature}"


def test_bad_tokens(client: Any, gateway: Any) -> None:
    sign = gateway.signer.token
    unsigned = b64(json.dumps({"alg": "none"}).encode()) + "." + sign().split(".")[1] + "."
    bad = {
        "foreign key, known kid": Signer("k1").token(),
        "unknown kid": Signer("k9").token(),
        "claims changed": _tampered(sign()),
        "unsigned": unsigned,
        "issuer": sign(iss="elsewhere"),
        "audience": sign(aud="elsewhere"),
        "not yet": sign(nbf=int(time.time()) + 300),
        "no token": "abc",
        "dots": "a.b.c",
    }
    for name, token in bad.items():
        answer = client.post(SCORES, headers={"authorization": f"Bearer {token}"}, json={})
        assert problem(answer, 401, "token-invalid"), name
        assert answer.headers["www-authenticate"].startswith("Bearer realm="), name
    assert all(not stub.requests for stub in gateway.stubs)


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
def test_unknown_path(client: Any, bearer: Any, method: str) -> None:
    for headers in ({}, bearer):
        problem(client.request(method, '/api/v1/"nothing', headers=headers), 404, "not-found")


def test_body_limits(client: Any, bearer: Any) -> None:
    for path, limit in ((SCORES, 16384), ("/api/v1/users/me", 65536)):
        fits = client.put(path, headers=bearer, content=b"x" * limit)
        assert (fits.status_code, fits.json()["size"]) == (200, limit)
        over = client.put(path, headers=bearer, content=b"x" * (limit + 1))
        problem(over, 413, "body-too-large")
    login = client.post("/api/v1/auth/login", content=b"x" * 20000)
    problem(login, 413, "body-too-large")


def test_slow_body_is_cut_off(gateway: Any, bearer: Any) -> None:
    ports = gateway.settings.ports
    connection = http.client.HTTPSConnection("127.0.0.1", ports.https, context=gateway.trust)
    connection.putrequest("POST", SCORES)
    for name, value in (bearer | {"content-length": "100"}).items():
        connection.putheader(name, value)
    connection.endheaders(b"{")
    answer = connection.getresponse()
    assert answer.status == 408
    assert json.loads(answer.read())["code"] == "request-timeout"
    assert not gateway.stub("score", "zone-a").requests


def test_huge_headers(client: Any) -> None:
    answer = client.get("/api/v1/leaderboard", headers={"x-big": "x" * 40_000})
    assert answer.status_code == 431
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "headers-too-large"


def test_public_routes_need_no_token(client: Any) -> None:
    table = {
        "/api/v1/leaderboard?limit=2": ("score", "/api/v1/leaderboard?limit=2"),
        "/api/v1/health": ("score", "/api/v1/health"),
        "/api/v1/health/score": ("score", "/api/v1/health"),
        "/api/v1/health/user": ("user", "/api/v1/health"),
        "/api/v1/health/notification": ("notification", "/api/v1/health"),
    }
    for path, wanted in table.items():
        seen = client.get(path).json()
        assert (seen["service"], seen["path"]) == wanted
    assert client.get("/.well-known/jwks.json").json()["keys"][0]["kid"] == "k1"
    for name in ("register", "login", "refresh"):
        seen = client.post(f"/api/v1/auth/{name}", json={}).json()
        assert (seen["service"], seen["path"]) == ("user", f"/api/v1/auth/{name}")


def test_protected_routes(client: Any, bearer: Any) -> None:
    table = {
        ("POST", "/api/v1/auth/logout"): "user",
        ("GET", "/api/v1/auth/sessions"): "user",
        ("DELETE", "/api/v1/auth/sessions/x"): "user",
        ("GET", "/api/v1/auth/login"): "user",
        ("POST", "/api/v1/leaderboard"): "score",
        ("GET", "/api/v1/scores"): "score",
        ("GET", "/api/v1/users/abc"): "user",
        ("PUT", "/api/v1/users/abc"): "user",
        ("GET", "/api/v1/users/abc/export"): "user",
        ("GET", "/api/v1/users/abc/score"): "score",
        ("GET", "/api/v1/users/abc/history?limit=5"): "score",
        ("GET", "/api/v1/stream"): "notification",
    }
    for (method, path), service in table.items():
        problem(client.request(method, path), 401, "unauthenticated")
        seen = client.request(method, path, headers=bearer).json()
        assert (seen["service"], seen["path"]) == (service, path)


def _raw(gateway: Any, path: str) -> tuple[int, str, bytes]:
    """GET with the path exactly as given: httpx would tidy it up first."""
    ports = gateway.settings.ports
    connection = http.client.HTTPSConnection("127.0.0.1", ports.https, context=gateway.trust)
    connection.request("GET", path)
    answer = connection.getresponse()
    return answer.status, answer.headers["content-type"], answer.read()


def test_path_tricks_reach_no_other_service(gateway: Any) -> None:
    tricks = {
        "/api/v1/leaderboard/../scores": 401,
        "//api//v1//scores": 401,
        "/api/v1/scores/": 401,
        "/api/v1/health/../users/x": 401,
        "/api/v1/%75sers/x": 401,
        "/api/v1/scoresx": 404,
        "/api/v1/leaderboard;/../scores": 401,
        "/api/v1/leaderboard%2f..%2fscores": 400,
        "/API/v1/scores": 404,
    }
    for path, wanted in tricks.items():
        status, kind, body = _raw(gateway, path)
        assert (status, kind) == (wanted, "application/problem+json"), path
        assert json.loads(body)["status"] == wanted
    assert all(not stub.requests for stub in gateway.stubs)


def test_client_cannot_speak_as_a_proxy(client: Any) -> None:
    forged = {
        "x-forwarded-for": "6.6.6.6",
        "x-forwarded-proto": "http",
        "x-forwarded-host": "evil",
        "x-real-ip": "6.6.6.6",
        "x-envoy-original-path": "/x",
        "x-envoy-retry-on": "5xx",
        "x-envoy-upstream-rq-timeout-ms": "1",
        "X-Scoreboard-User": "admin",
        "x-request-id": "mine",
        "x_forwarded_for": "6.6.6.6",
    }
    answer = client.get("/api/v1/leaderboard", headers=forged)
    seen = answer.json()["headers"]
    # Towards a loopback client Envoy names its own address; what matters: one entry, not ours.
    assert "6.6.6.6" not in seen["x-forwarded-for"]
    assert "," not in seen["x-forwarded-for"]
    assert seen["x-forwarded-proto"] == "https"
    assert len(seen["x-request-id"]) == 36
    assert answer.headers["x-request-id"] == seen["x-request-id"]
    left = {name for name in seen if name.startswith(("x-envoy", "x-scoreboard", "x-real", "x_"))}
    # Set by Envoy itself, to the address the connection came from.
    assert left <= {"x-envoy-external-address"}
    assert "x-forwarded-host" not in seen


def test_security_headers_on_every_answer(client: Any, bearer: Any) -> None:
    for answer in (client.get("/api/v1/leaderboard"), client.get("/nothing"), client.get(SCORES)):
        assert answer.headers["strict-transport-security"].startswith("max-age=")
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["server"] == "scoreboard"
        assert not [name for name in answer.headers if name.startswith("x-envoy")]


def test_redirect_to_https(gateway: Any) -> None:
    url = f"http://127.0.0.1:{gateway.settings.ports.http}/api/v1/leaderboard?limit=3"
    table = {
        "board.example": "https://board.example/",
        "board.example:8080": "https://board.example:8443/",
        "127.0.0.1:30080": "https://127.0.0.1:30443/",
    }
    for host, start in table.items():
        answer = httpx.post(url, headers={"host": host})
        assert answer.status_code == 308
        assert answer.headers["location"] == f"{start}api/v1/leaderboard?limit=3"


def test_websocket_outlives_every_request_timeout(gateway: Any) -> None:
    url = gateway.url.replace("https", "wss") + "/api/v1/ws"
    with connect(url, ssl=gateway.trust, subprotocols=None) as socket:
        socket.send("one")
        assert socket.recv(timeout=3) == "one"
        time.sleep(gateway.settings.request_seconds + 0.5)
        socket.send("two")
        assert socket.recv(timeout=3) == "two"


def test_metrics_port_shows_three_paths_only(gateway: Any) -> None:
    base = f"http://127.0.0.1:{gateway.settings.ports.metrics}"
    assert "envoy_http_downstream_rq" in httpx.get(f"{base}/metrics").text
    assert httpx.get(f"{base}/ready").status_code == 200
    assert httpx.get(f"{base}/livez").status_code == 200
    for path in ("/config_dump", "/quitquitquit", "/", "/ready/../config_dump"):
        assert httpx.get(f"{base}{path}").status_code == 404
    assert httpx.post(f"{base}/healthcheck/fail").status_code == 404


def test_access_log_is_json_without_secrets(client: Any, gateway: Any, bearer: Any) -> None:
    path = '/api/v1/users/me?access_token=hunter2&q="'
    answer = client.get(path, headers=bearer | {"cookie": "a=s3cret"})
    log = Path(gateway.settings.files.config, "log")
    mark = answer.headers["x-request-id"]
    for _ in range(50):
        text = log.read_text()
        found = [line for line in text.splitlines() if mark in line]
        if found:
            break
        time.sleep(0.1)
    entry = json.loads(found[0])
    assert entry["path"] == "/api/v1/users/me"
    assert entry["status"] == 200
    assert entry["user"] == "11111111-1111-4111-8111-111111111111"
    for secret in ("hunter2", "s3cret", bearer["authorization"].split(".")[-1]):
        assert secret not in text
