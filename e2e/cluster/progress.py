"""Live progress: one line per stage on a terminal, plain timed lines anywhere else."""

from __future__ import annotations

import fcntl
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.markup import escape

from .paths import cache

HEARTBEAT = 20.0
"""Seconds of silence after which a plain run says that it is still alive."""

console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 140)


def elapsed(seconds: float) -> str:
    """Time as people say it: 4.2 s, 1 min 05 s."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{int(seconds) // 60} min {int(seconds) % 60:02d} s"


finished: list[Stage] = []
"""The stages that ended well in this run, in order."""


class Stage:
    """One stage of a longer job; `say` replaces the line that tells what it is doing."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.result = ""
        self.took = 0.0
        self.started = time.monotonic()
        self.log: Path = cache("logs", title.replace(" ", "-") + ".log")
        self._text = ""
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._status = console.status("") if console.is_terminal else None
        self._printed = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    @property
    def live(self) -> bool:
        """Whether lines replace each other, so that many of them do no harm."""
        return self._status is not None

    def say(self, text: str) -> None:
        """What is being done or waited for now."""
        if text == self._text:
            return
        self._text = text
        if self._status is None:
            self._print(text)

    def done(self, result: str) -> None:
        """The outcome, shown on the stage's closing line."""
        self.result = result

    def _print(self, text: str) -> None:
        self._printed = time.monotonic()
        console.print(f"  [dim]{elapsed(self.seconds):>12}[/]  {self.title}: {escape(text)}")

    def _tick(self) -> None:
        while not self._stop.wait(0.5):
            if self._status is not None:
                line = f"[bold]{self.title}[/]  {escape(self._text)}  [dim]{elapsed(self.seconds)}"
                self._status.update(line)
            elif time.monotonic() - self._printed > HEARTBEAT:
                self._print(self._text or "working")

    def __enter__(self) -> Stage:
        self.log.unlink(missing_ok=True)
        if self._status is not None:
            self._status.start()
        self._thread = threading.Thread(target=self._tick, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self.took = self.seconds
        if self._thread is not None:
            self._thread.join()
        if self._status is not None:
            self._status.stop()
        if error is None:
            finished.append(self)
        mark = "[green]✓[/]" if error is None else "[red]✗[/]"
        text = escape(self.result) if error is None else f"[red]{kind.__name__ if kind else ''}[/]"
        console.print(f"{mark} [bold]{self.title}[/]  {text}  [dim]({elapsed(self.seconds)})[/]")
        sys.stdout.flush()


@contextmanager
def alone() -> Iterator[None]:
    """Wait until no other run on this machine is changing the cluster."""
    with cache("lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            console.print("Another run is changing the cluster; waiting for it to end.")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def stage(title: str) -> Iterator[Stage]:
    """Show one stage while its block runs."""
    with Stage(title) as current:
        yield current
