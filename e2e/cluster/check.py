"""Everything that must hold, in the order of how soon it tells: `make test`.

A static check that fails ends the run, because what follows would only fail for the same reason.
The last line counts what was run; every skip is listed with its reason.
"""

from __future__ import annotations

import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.markup import escape

from . import cli, tools
from .paths import ROOT, cache
from .progress import console, elapsed, stage
from .shell import ClusterError

STATIC: dict[str, Sequence[str]] = {
    "format": ("ruff", "format", "--check", "."),
    "lint": ("ruff", "check", "."),
    "types": ("mypy",),
    "import contracts": ("lint-imports",),
}
UNIT_TESTS = ("operator/tests", "workloads/tests", "e2e/cluster/tests")
CHART_TESTS = "charts/tests"
END_TO_END = "e2e/tests"


@dataclass
class Tally:
    """What was counted so far."""

    passed: int = 0
    failed: int = 0
    skipped: list[str] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped

    def __str__(self) -> str:
        return f"{self.passed} passed, {self.failed} failed, {len(self.skipped)} skipped"


def junit(text: str) -> Tally:
    """The counts of a JUnit report, with the name and reason of every skip."""
    tally = Tally()
    for case in ET.fromstring(text).iter("testcase"):  # noqa: S314 - pytest wrote it just now
        name = f"{case.get('classname')}::{case.get('name')}"
        skip = case.find("skipped")
        if case.find("failure") is not None or case.find("error") is not None:
            tally.failed += 1
        elif skip is not None:
            tally.skipped.append(f"{name}: {skip.get('message') or 'no reason given'}")
        else:
            tally.passed += 1
    return tally


class Run:
    """One `make test`."""

    def __init__(self) -> None:
        self.tally = Tally()

    def check(self, title: str, action: Callable[[], None]) -> bool:
        """Run one check that counts as one; says whether it passed."""
        started = time.monotonic()
        console.rule(f"[bold]{title}", align="left", style="dim")
        try:
            action()
        except (ClusterError, subprocess.CalledProcessError) as error:
            self.tally.failed += 1
            console.print(f"[red]✗ {title}[/]: {escape(str(error))}")
            return False
        self.tally.passed += 1
        console.print(f"[green]✓ {title}[/] [dim]({elapsed(time.monotonic() - started)})")
        return True

    def tests(self, title: str, folders: Sequence[str]) -> bool:
        """Run pytest; says whether all passed. A folder with no tests in it is a failure."""
        console.rule(f"[bold]{title}", align="left", style="dim")
        report = cache("reports", f"{title.replace(' ', '-')}.xml")
        report.unlink(missing_ok=True)
        command = [sys.executable, "-m", "pytest", "-q", f"--junit-xml={report}", *folders]
        code = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, check=False).returncode
        found = junit(report.read_text()) if report.is_file() else Tally()
        if code != 0 and not found.failed:
            found.failed += 1
            console.print(f"[red]pytest ended with {code}")
        self.tally.add(found)
        return code == 0

    def all(self) -> None:
        for title, command in STATIC.items():
            if not self.check(title, lambda command=command: tool(command)):  # type: ignore[misc]
                return
        here = [folder for folder in UNIT_TESTS if (ROOT / folder).is_dir()]
        if not self.tests("unit tests", here):
            return
        if not self.check("helm", helm) or not self.tests("chart tests", [CHART_TESTS]):
            return
        if self.check("up", up):
            self.tests("end-to-end tests", [END_TO_END])

    def close(self) -> int:
        for reason in self.tally.skipped:
            console.print(f"skipped: {escape(reason)}")
        console.print(str(self.tally))
        return 1 if self.tally.failed or not self.tally.passed else 0


def tool(command: Sequence[str]) -> None:
    """Run a tool of this environment in the checkout."""
    found = Path(sys.executable).parent / command[0]
    subprocess.run([found, *command[1:]], cwd=ROOT, stdin=subprocess.DEVNULL, check=True)


def helm() -> None:
    """The chart's tests call helm, and so does the install."""
    with stage("tools") as current:
        tools.ensure(current)


def up() -> None:
    cli.up()


def main() -> int:
    run = Run()
    try:
        run.all()
    finally:
        code = run.close()
    return code


if __name__ == "__main__":
    sys.exit(main())
