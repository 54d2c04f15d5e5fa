"""One missed answer is passed over, three are not, and nothing is kept for long."""

from __future__ import annotations

from dataclasses import replace

from boards import board

from scoreboard_operator.components.memory import KEEP_SECONDS, Memory


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_the_third_failure_in_a_row_is_trouble() -> None:
    memory: Memory[str] = Memory()
    assert memory.missed(board()) is None
    memory.keep(board(), "good")
    assert [memory.missed(board()) for _ in range(4)] == ["good", "good", None, None]
    assert memory.last(board()) == "good"
    memory.keep(board(), "better")
    assert memory.missed(board()) == "better"


def test_nothing_is_kept_for_long() -> None:
    clock = Clock()
    memory: Memory[str] = Memory(clock)
    memory.keep(board(), "good")
    clock.now += KEEP_SECONDS + 1
    assert memory.last(replace(board(), name="other")) is None
    assert memory._kept == {}  # those of other boards go too: theirs may be gone


def test_boards_and_parts_do_not_mix() -> None:
    memory: Memory[str] = Memory()
    memory.keep(board(), "good", "a")
    assert memory.missed(replace(board(), uid="a later board of the name"), "a") is None
    assert memory.missed(board(), "b") is None
    memory.drop(board(), "a")
    assert memory.missed(board(), "a") is None
