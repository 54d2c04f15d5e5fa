"""The planner and its steps against real redis-server processes (no TLS, 127.0.0.1)."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from .lab import Lab, make_board

BINARY = shutil.which("redis-server") or ""

pytestmark = [
    pytest.mark.skipif(not BINARY, reason="no redis-server on PATH: apt install redis-server"),
    pytest.mark.timeout(120),
]

A0, A1, B0, B1, C0, C1 = (f"demo-cache-zone-{z}-{i}" for z in "abc" for i in (0, 1))


@pytest.fixture
async def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Lab]:
    monkeypatch.setattr("scoreboard_operator.components.cache.topology.SETTLE_SECONDS", 1)
    made = Lab(tmp_path, BINARY, make_board())
    for pod in made.ports:
        made.start(pod)
    try:
        yield made
    finally:
        made.close()


async def test_forms_heals_and_keeps_data(lab: Lab) -> None:
    done = await lab.settle()
    assert sum(word.startswith("addslots") for word in done) == 3
    assert sum(word.startswith("replicate") for word in done) == 3
    seen = await lab.observe()
    assert all(not node.drift for node in seen.nodes.values())
    assert len(seen.served()) == 16384

    key = await first_range_key(lab)
    await lab.write(A0, key, "kept")

    # A replica's pod is deleted: nothing else moves.
    lab.delete(B1)
    await lab.one_pass()
    lab.start(B1)
    done = await lab.settle()
    assert not any(word.startswith(("addslots", "failover", "takeover")) for word in done)

    # A primary's pod is deleted: its replica serves the data, and it gets its role back.
    lab.delete(A0)
    await lab.one_pass()
    assert await lab.read(B1, key) == "kept"
    lab.start(A0)
    done = await lab.settle()
    assert f"failover {A0}" in done
    assert not any(word.startswith("addslots") for word in done)
    assert await lab.read(A0, key) == "kept"


async def test_two_primaries_lost_at_once(lab: Lab) -> None:
    await lab.settle()
    key = await first_range_key(lab)
    await lab.write(A0, key, "kept")
    lab.delete(A0)
    lab.delete(B0)
    decided = await lab.one_pass()
    assert {(op.kind, op.pod) for op in decided.operations} == {("takeover", B1), ("takeover", C1)}
    assert await lab.read(B1, key) == "kept"
    lab.start(A0)
    lab.start(B0)
    await lab.settle()
    assert await lab.read(A0, key) == "kept"


async def test_everything_lost_is_formed_anew(lab: Lab) -> None:
    await lab.settle()
    for pod in lab.ports:
        lab.delete(pod)
    for pod in lab.ports:
        lab.start(pod)
    await lab.settle()


async def test_both_pods_of_a_range_lost(lab: Lab) -> None:
    await lab.settle()
    lab.delete(A0)
    lab.delete(B1)
    await lab.one_pass()
    lab.start(A0)
    lab.start(B1)
    done = await lab.settle()
    assert f"addslots {A0}" in done


async def test_one_node_serves_everything(tmp_path: Path) -> None:
    lone = Lab(tmp_path, BINARY, make_board(("zone-a",)))
    try:
        lone.start(A0)
        assert f"addslots {A0}" in await lone.settle()
        await lone.write(A0, "sb:any", "value")
        lone.delete(A0)
        lone.start(A0)
        assert f"addslots {A0}" in await lone.settle()
    finally:
        lone.close()


async def first_range_key(lab: Lab) -> str:
    """A key whose slot lies in the first range."""
    seen = await lab.observe()
    for number in range(100):
        slot = await lab.wire.command(seen.nodes[A0], "CLUSTER", "KEYSLOT", f"sb:{number}")
        if slot in lab.layout.slots(0):
            return f"sb:{number}"
    raise AssertionError("no key found")
