"""Six real redis-server processes on 127.0.0.1 that stand for the pods of a board."""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

from scoreboard_operator.api.scoreboard import ScoreboardSpec
from scoreboard_operator.components.base import Board, ImageSet
from scoreboard_operator.components.cache.client import NodeUnreachableError, Wire
from scoreboard_operator.components.cache.layout import Node, Observed, pod_host, wanted_layout
from scoreboard_operator.components.cache.observe import read_replies
from scoreboard_operator.components.cache.steps import steps_of
from scoreboard_operator.components.cache.topology import Plan, plan

FIRST_PORT = 15640
QUESTIONS = [("CLUSTER", "NODES"), ("CLUSTER", "INFO"), ("INFO", "replication"), ("INFO", "server")]


def make_board(zones: tuple[str, ...] = ("zone-a", "zone-b", "zone-c"), **spec: object) -> Board:
    """A board as the loop hands it to components."""
    images = ImageSet(
        "scoreboard/scoreboard:1",
        "scoreboard/postgres:1",
        "scoreboard/kafka:1",
        "scoreboard/redis:8.0-1",
        "scoreboard/envoy:1",
    )
    parsed = ScoreboardSpec.model_validate(spec)
    return Board("demo", "demo", "uid-1", 1, parsed, zones, images)


class Lab:
    """Pods as processes: a directory is the emptyDir, the binary is the container."""

    def __init__(self, root: Path, binary: str, board: Board) -> None:
        self.root = root
        self.binary = binary
        self.board = board
        self.layout = wanted_layout(board)
        self.ports = {p.pod: FIRST_PORT + i for i, p in enumerate(self.layout.places)}
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.gone: set[str] = set(self.ports)
        self.wire = Wire(board, None, None, None)

    def start(self, pod: str) -> None:
        """Start a pod's process in the directory it has, or in an empty one."""
        home = self.root / pod
        home.mkdir(exist_ok=True)
        settings = {
            "port": str(self.ports[pod]), "bind": "127.0.0.1", "dir": str(home), "save": "",
            "cluster-enabled": "yes", "cluster-config-file": "nodes.conf",
            "cluster-node-timeout": "1000", "cluster-require-full-coverage": "no",
            "cluster-allow-replica-migration": "no", "cluster-replica-validity-factor": "0",
            "cluster-announce-hostname": pod_host(self.board, pod),
            "repl-diskless-sync-delay": "0", "logfile": "redis.log",
        }  # fmt: skip
        arguments = [word for name, value in settings.items() for word in (f"--{name}", value)]
        self.running[pod] = subprocess.Popen([self.binary, *arguments])
        self.gone.discard(pod)

    def crash(self, pod: str) -> None:
        """Kill the process; its directory stays."""
        process = self.running.pop(pod, None)
        if process is not None:
            process.send_signal(signal.SIGKILL)
            process.wait()

    def delete(self, pod: str) -> None:
        """Kill the process and take its directory away."""
        self.crash(pod)
        shutil.rmtree(self.root / pod, ignore_errors=True)
        self.gone.add(pod)

    def close(self) -> None:
        """End everything that was started here."""
        for pod in list(self.running):
            self.crash(pod)

    async def observe(self) -> Observed:
        """As ``observe.observe`` does, with processes in the place of pods."""
        found = {p.pod: await self._ask(p.pod, p.zone) for p in self.layout.places}
        return Observed(self.layout, found)

    async def _ask(self, pod: str, zone: str) -> Node:
        if pod in self.gone:
            return Node(pod, zone)
        up = pod in self.running
        node = Node(pod, zone, ip="127.0.0.1", port=self.ports[pod], present=True, ready=up)
        wanted = {"maxmemory": "67108864", "maxmemory-policy": "volatile-lru"}
        try:
            replies = await self.wire.ask(node, [*QUESTIONS, ("CONFIG", "GET", *wanted)])
        except NodeUnreachableError as error:
            return replace(node, trouble=str(error))
        return read_replies(node, replies, wanted)

    async def one_pass(self) -> Plan:
        """Observe, plan, run; failures of a step end the pass as they do in the loop."""
        seen = await self.observe()
        decided = plan(seen)
        for step in steps_of(self.wire, seen, decided):
            try:
                await step.run(None)  # type: ignore[arg-type]
            except ConnectionError as error:
                print(f"{step.name} failed: {error}")  # noqa: T201
                break
        return decided

    async def settle(self, seconds: float = 45.0) -> list[str]:
        """Passes until nothing is left to do; returns the operations done, as text."""
        done: list[str] = []
        end = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < end:
            decided = await self.one_pass()
            done += [f"{op.kind} {op.pod}" for op in decided.operations]
            if (
                not decided.operations
                and not decided.waiting
                and self.is_preferred(await self.observe())
            ):
                return done
            await asyncio.sleep(0.3)
        raise AssertionError(f"not settled: {await self.observe()}")

    def is_preferred(self, seen: Observed) -> bool:
        """Whether every pod has the role the layout wants."""
        for place in self.layout.places:
            node, owner = seen.nodes[place.pod], seen.owner(place.part)
            if owner is None or not node.working:
                return False
            if owner.pod != self.layout.of_part(place.part)[0].pod:
                return False
            if not place.primary and not (node.primary_id == owner.id and node.link_up):
                return False
        return True

    async def write(self, pod: str, key: str, value: str) -> None:
        """Write a key on a node that must serve it."""
        seen = await self.observe()
        assert await self.wire.command(seen.nodes[pod], "SET", key, value) == "OK"

    async def read(self, pod: str, key: str) -> str | None:
        """Read a key from a node that must serve it."""
        seen = await self.observe()
        value = await self.wire.command(seen.nodes[pod], "GET", key)
        assert value is None or isinstance(value, str)
        return value
