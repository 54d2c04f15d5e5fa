"""How the gateway chooses pods: zones, failures, retries, certificates, limits, and its own end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import httpx

from .harness import ZONES, Gateway, Lab, Signer
from .test_envoy_behaviour import SCORES, problem

BOARD = "/api/v1/leaderboard"
LOCAL, OTHER = ZONES


def until(check: Callable[[], bool], seconds: float = 8) -> None:
    """Waits until ``check`` holds."""
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.05)


def zone_of(client: httpx.Client) -> str:
    answer = client.get(BOARD)
    return str(answer.json()["zone"]) if answer.status_code == 200 else str(answer.status_code)


def test_local_zone_first_and_back_again(client: httpx.Client, gateway: Gateway) -> None:
    assert {zone_of(client) for _ in range(20)} == {LOCAL}
    gateway.stub("score", LOCAL).ready = False
    until(lambda: zone_of(client) == OTHER)
    assert {zone_of(client) for _ in range(10)} == {OTHER}
    gateway.stub("score", LOCAL).ready = True
    until(lambda: zone_of(client) == LOCAL)


def test_broken_connection_is_retried_elsewhere_when_safe(
    client: httpx.Client, gateway: Gateway, bearer: dict[str, str]
) -> None:
    gateway.stub("score", LOCAL).behave = "reset"
    assert zone_of(client) == OTHER
    # A write may have been carried out: the client decides, and is told in the common form.
    problem(client.post(SCORES, headers=bearer, json={}), 503, "unavailable")
    assert gateway.stub("score", OTHER).requests == [f"GET {BOARD}"]


def test_busy_pod_is_retried_elsewhere_when_safe(
    client: httpx.Client, gateway: Gateway, bearer: dict[str, str]
) -> None:
    gateway.stub("user", LOCAL).behave = "503"
    answer = client.get("/api/v1/users/me", headers=bearer)
    assert (answer.status_code, answer.json()["zone"]) == (200, OTHER)
    # The service's own answer passes as it is.
    answer = client.post("/api/v1/auth/logout", headers=bearer)
    assert (answer.status_code, answer.json()["zone"]) == (503, LOCAL)


def test_write_moves_on_when_nobody_listens(lab: Lab) -> None:
    gateway = lab.start()
    stub = gateway.stub("score", LOCAL)
    assert stub.server is not None
    lab.loop.call_soon_threadsafe(stub.server.close)
    time.sleep(0.1)
    headers = {"authorization": f"Bearer {lab.signer.token()}"}
    with gateway.client() as client:
        for _ in range(5):
            answer = client.post(SCORES, headers=headers, json={})
            assert (answer.status_code, answer.json()["zone"]) == (200, OTHER)


def test_a_lone_pod_is_asked_twice(lab: Lab) -> None:
    """On a board of one zone there is nobody else to ask."""
    gateway = lab.start(zones=(LOCAL,))
    lone = gateway.stub("score", LOCAL)
    lone.behave = "503"
    with gateway.client() as client:
        assert client.get(BOARD).status_code == 503
        assert lone.requests == [f"GET {BOARD}"] * 2
        lone.behave = "echo"
        assert client.get(BOARD).status_code == 200


def test_silent_service_is_a_timeout(client: httpx.Client, gateway: Gateway) -> None:
    gateway.stub("score", LOCAL).behave = "hang"
    problem(client.get(BOARD), 504, "timeout")


def test_no_service_at_all(lab: Lab) -> None:
    gateway = lab.start()
    for stub in gateway.stubs:
        if stub.service == "score":
            assert stub.server is not None
            lab.loop.call_soon_threadsafe(stub.server.close)
            stub.ready = False
    time.sleep(0.1)
    with gateway.client() as client:
        answer = client.get(BOARD)
        problem(answer, 503, "unavailable")
        assert answer.headers["retry-after"] == "1"


def test_foreign_certificate_is_not_trusted(lab: Lab) -> None:
    gateway = lab.start(server_tls=lab.leaf("wrong", ["demo-other.demo.svc"]))
    with gateway.client() as client:
        # On a busy machine the first requests may be answered before the handshakes have failed.
        until(lambda: client.get(BOARD).status_code == 503)
        problem(client.get(BOARD), 503, "unavailable")
        assert not gateway.stub("score", LOCAL).requests
        # The keys come from the same unproven server: no token can be judged.
        headers = {"authorization": f"Bearer {lab.signer.token()}"}
        until(lambda: client.get("/api/v1/users/me", headers=headers).status_code == 503)
        problem(client.get("/api/v1/users/me", headers=headers), 503, "unavailable")


def test_keys_rotate_and_outlive_their_source(lab: Lab) -> None:
    keys = [lab.signer]
    gateway = lab.start(keys=keys)
    fresh = Signer("k2")
    old = {"authorization": f"Bearer {lab.signer.token()}"}
    new = {"authorization": f"Bearer {fresh.token()}"}
    with gateway.client() as client:

        def status(headers: dict[str, str]) -> int:
            return client.get("/api/v1/users/me", headers=headers).status_code

        assert (status(old), status(new)) == (200, 401)
        keys.append(fresh)
        until(lambda: status(new) == 200)
        assert status(old) == 200
        # With the key source gone, keys that are known stay in force.
        for stub in gateway.stubs:
            stub.jwks = dict
        time.sleep(2.5)
        assert (status(old), status(new)) == (200, 200)


def test_limit_counts_each_address_alone(lab: Lab) -> None:
    gateway = lab.start(requests_per_second=1, burst=5)
    with gateway.client("127.0.0.1") as one, gateway.client("127.0.0.2") as two:
        begun = time.monotonic()
        answers = [one.get(BOARD) for _ in range(15)]
        refilled = time.monotonic() - begun + 1
        refused = [answer for answer in answers if answer.status_code == 429]
        assert 10 - refilled <= len(refused) <= 10
        problem(refused[0], 429, "rate-limited")
        assert refused[0].headers["retry-after"] == "1"
        # The other address has its whole burst, and the first gets what time gives back.
        assert [two.get(BOARD).status_code for _ in range(5)] == [200] * 5
        time.sleep(1.1)
        assert one.get(BOARD).status_code == 200


def test_certificate_is_renewed_without_a_restart(lab: Lab) -> None:
    gateway = lab.start()

    def serial() -> bytes:
        address = ("127.0.0.1", gateway.settings.ports.https)
        with (
            socket.create_connection(address) as raw,
            gateway.trust.wrap_socket(raw, server_hostname="localhost") as secured,
        ):
            return secured.getpeercert(binary_form=True) or b""

    before = serial()
    lab.leaf("gateway", ["localhost"])
    until(lambda: serial() != before)
    with gateway.client() as client:
        assert client.get(BOARD).status_code == 200


ENTRYPOINT = Path(__file__).parents[4] / "workloads/images/envoy/entrypoint"


def test_entrypoint_drains(lab: Lab, envoy_binary: str, tmp_path: Path) -> None:
    """After TERM: not ready at once, still serving, requests in flight end well, then exit 0."""
    gateway = lab.start()
    gateway.process.kill()
    gateway.process.wait()
    config = gateway.settings.files.config
    (tmp_path / "envoy").symlink_to(envoy_binary)
    environment = os.environ | {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "ADMIN_PORT": str(gateway.settings.ports.admin),
        "SETTLE_SECONDS": "1",
        "DRAIN_SECONDS": "5",
        "POD_NAME": "demo-gateway-zone-a-x",
    }
    with Path(config, "log").open("ab") as log:
        process = subprocess.Popen(
            [str(ENTRYPOINT), "-c", f"{config}/envoy.json"], env=environment, stderr=log, stdout=log
        )
    lab.processes.append(process)
    gateway.process = process
    lab.wait(gateway, Path(config, "log"))
    ready = f"http://127.0.0.1:{gateway.settings.ports.metrics}"
    with gateway.client() as client:
        assert client.get(BOARD).status_code == 200
        process.send_signal(signal.SIGTERM)
        until(lambda: httpx.get(f"{ready}/ready").status_code == 503, 1)
        assert httpx.get(f"{ready}/livez").status_code == 200
        answer = client.get(BOARD)
        assert (answer.status_code, answer.headers.get("connection")) == (200, "close")
    with gateway.client() as late:
        assert late.get(BOARD).status_code == 200
    assert process.wait(10) == 0
