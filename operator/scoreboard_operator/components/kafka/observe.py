"""What is really there: asks the brokers, at most once every few seconds while all is quiet."""

from __future__ import annotations

import asyncio
import hashlib
import time
from dataclasses import replace

from scoreboard_operator.api.data import TOPICS
from scoreboard_operator.components import build
from scoreboard_operator.components.base import Access, Board, Snapshot
from scoreboard_operator.components.kafka import admin, quorum
from scoreboard_operator.components.kafka.access import credentials_secret
from scoreboard_operator.components.kafka.admin import Client, Clients, KafkaUnavailable, Login
from scoreboard_operator.components.kafka.broker_config import (
    CLIENT_PORT,
    REPLICATION_PORT,
    broker_host,
)
from scoreboard_operator.components.kafka.desired import COMPONENT, workloads
from scoreboard_operator.components.kafka.roll import restarts_due
from scoreboard_operator.components.kafka.state import Observed, pending
from scoreboard_operator.components.memory import Memory

REUSE_SECONDS = 3.0
"""How long an answer stands for a quiet board. With a pass at least every 5 s, a topic setting
edited by hand is seen within 8 s."""

_clients = Clients()
_answers: dict[tuple[str, str], tuple[str, float, Observed]] = {}
_memory: Memory[Observed] = Memory()


async def observe(board: Board, snapshot: Snapshot, access: Access) -> Observed:
    """Ask the brokers how they are. Never raises for brokers' sake."""
    key = (board.namespace, board.name)
    login = _password_login(board, snapshot)
    if login is None:
        return _unknown(board, "waiting for the Secrets of the brokers")
    if not any(build.pod_ready(pod) for pod in snapshot.pods(COMPONENT)):
        # Nobody is there to ask, and asking would take its whole timeout.
        _answers.pop(key, None)
        return _unknown(board, "no broker is ready")
    mark = _mark(board, snapshot, login)
    kept = _answers.get(key)
    if (
        kept is not None
        and kept[0] == mark
        and time.monotonic() - kept[1] < REUSE_SECONDS
        and _quiet(board, snapshot, kept[2])
    ):
        return kept[2]
    asked = time.monotonic()
    observed = await _ask(board, snapshot)
    if observed.problem is not None:
        _answers.pop(key, None)
        return _silence(board, snapshot, observed.problem)
    _answers[key] = (mark, asked, observed)
    _memory.keep(board, observed)
    return observed


def client_for(board: Board, snapshot: Snapshot, observed: Observed) -> Client:
    """The client that the observation was made with.

    Raises:
        KafkaUnavailable: the Secrets it needs are gone.
    """
    found = _certificate_login if observed.by_certificate else _password_login
    login = found(board, snapshot)
    if login is None:
        raise KafkaUnavailable("the Secrets to connect to Kafka are gone")
    return _clients.get((board.namespace, board.name), login)


def _silence(board: Board, snapshot: Snapshot, problem: str) -> Observed:
    """Brokers that did not answer: no trouble yet while all their pods are ready."""
    kept = _memory.missed(board)
    pods = snapshot.pods(COMPONENT)
    up = len(pods) == len(board.zones) and all(build.pod_ready(pod) for pod in pods)
    if kept is None or not up:
        return _unknown(board, problem)
    return replace(kept, remembered=problem)


def _unknown(board: Board, problem: str) -> Observed:
    """Nothing is known now; the table of topics is not emptied for a moment's silence."""
    last = _memory.last(board)
    return Observed(problem=problem, topics=last.topics if last is not None else {})


async def _ask(board: Board, snapshot: Snapshot) -> Observed:
    try:
        answer, by_certificate = await _read(board, snapshot)
    except KafkaUnavailable as error:
        return Observed(problem=str(error))
    controller = await _controller(board, snapshot) if restarts_due(board, snapshot) else None
    return Observed(
        brokers=answer.brokers,
        controller=controller,
        topics=answer.topics,
        acls=answer.acls,
        users=answer.users,
        by_certificate=by_certificate,
    )


async def _read(board: Board, snapshot: Snapshot) -> tuple[admin.Answer, bool]:
    """The answers, and whether they had to be had by certificate.

    A password in the Secret that Kafka does not know (the Secret was lost and made anew) locks
    the admin out; its certificate still opens the brokers' listener, where it can be set again.
    """
    client = client_for(board, snapshot, Observed())
    try:
        return await asyncio.to_thread(client.read, TOPICS), False
    except KafkaUnavailable:
        if not client.refused() or _certificate_login(board, snapshot) is None:
            raise
    other = client_for(board, snapshot, Observed(by_certificate=True))
    return await asyncio.to_thread(other.read, TOPICS), True


async def _controller(board: Board, snapshot: Snapshot) -> int | None:
    login = _password_login(board, snapshot)
    if login is None or len(board.zones) == 1:
        return None
    host, port = login.bootstrap.rsplit(":", 1)
    try:
        return await asyncio.to_thread(
            quorum.active_controller,
            host,
            int(port),
            login.ca,
            login.password,
            admin.READ_SECONDS,
        )
    except quorum.QuorumUnknown:
        return None  # the order of a roll is then that of the zones


def _password_login(board: Board, snapshot: Snapshot) -> Login | None:
    ca = snapshot.secret_value(f"{board.name}-ca", "ca.crt")
    password = snapshot.secret_value(credentials_secret(board), "admin-password")
    if not ca or not password:
        return None
    bootstrap = f"{board.host(f'{board.name}-kafka')}:{CLIENT_PORT}"
    return Login(bootstrap, ca, password=password)


def _certificate_login(board: Board, snapshot: Snapshot) -> Login | None:
    secret = f"{board.name}-operator-tls"
    ca = snapshot.secret_value(f"{board.name}-ca", "ca.crt")
    certificate = snapshot.secret_value(secret, "tls.crt")
    key = snapshot.secret_value(secret, "tls.key")
    if not ca or not certificate or not key:
        return None
    brokers = ",".join(f"{broker_host(board, zone)}:{REPLICATION_PORT}" for zone in board.zones)
    return Login(brokers, ca, certificate=certificate, key=key)


def _quiet(board: Board, snapshot: Snapshot, observed: Observed) -> bool:
    """Whether the answer may stand for a while: nothing is to be mended or waited for."""
    return (
        observed.problem is None
        and not observed.by_certificate
        and len(observed.brokers) == len(board.zones)
        and not observed.out_of_sync
        and not pending(board, snapshot, observed)
        and not restarts_due(board, snapshot)
        and all(build.workload_ready(snapshot.get("StatefulSet", n)) for n in workloads(board))
    )


def _mark(board: Board, snapshot: Snapshot, login: Login) -> str:
    """Changes with anything that makes an earlier answer worthless: a broker that came or went."""
    seen: list[object] = [board.uid, login.fingerprint()]
    for pod in snapshot.pods(COMPONENT):
        containers = pod.get("status", {}).get("containerStatuses", [])
        restarts = [container.get("restartCount") for container in containers]
        seen.append((pod["metadata"].get("uid"), build.pod_ready(pod), restarts))
    for name in workloads(board):
        live = snapshot.get("StatefulSet", name) or {}
        seen.append(live.get("metadata", {}).get("generation"))
    return hashlib.sha256(repr(seen).encode()).hexdigest()
