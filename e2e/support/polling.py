"""Waiting for a condition, with a limit that is generous and a time that is told."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


class NotYet(AssertionError):  # noqa: N818 - a state, until the limit makes it a failure
    """What is still missing; raised by a check that can say more than False."""


@dataclass(frozen=True)
class Reached(Generic[T]):
    """What a check returned in the end, and the seconds until it did."""

    value: T
    seconds: float


def eventually(
    check: Callable[[], T | None], what: str, *, limit: float = 30.0, every: float = 0.25
) -> Reached[T]:
    """Call ``check`` until it returns something true.

    An AssertionError or KeyError of the check counts as "not yet" and ends up in the message of
    the AssertionError that is raised once ``limit`` seconds are over.
    """
    started = time.monotonic()
    while True:
        last: object
        try:
            last = value = check()
            if value:
                return Reached(value, time.monotonic() - started)
        except (AssertionError, KeyError, IndexError) as error:
            last = error
        if time.monotonic() - started > limit:
            raise NotYet(f"{what}: not within {limit:.0f} s; last seen: {last!r}")
        time.sleep(every)


def throughout(seconds: float, check: Callable[[], None], *, every: float = 2.0) -> None:
    """Call ``check``, which asserts, again and again for some seconds."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        check()
        time.sleep(min(every, max(0.0, ends - time.monotonic())))
    check()
