"""Running other programs: quiet on success, everything they said on failure."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from .progress import Stage

TAIL = 40
"""Lines of a failed command's output that are shown; the rest stays in its log."""


class ClusterError(Exception):
    """Something the person at the terminal has to know; the text is written for them."""


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    return {**os.environ, **(extra or {})}


def output(
    command: Sequence[str | Path],
    *,
    stdin: str | None = None,
    timeout: float = 60,
    env: Mapping[str, str] | None = None,
) -> str:
    """Standard output of a command. Raises ClusterError when it exits non-zero or runs too long."""
    result = attempt(command, stdin=stdin, timeout=timeout, env=env)
    if result.returncode != 0:
        said = (result.stderr or result.stdout).strip()
        raise ClusterError(f"{' '.join(map(str, command))}: {said or f'exit {result.returncode}'}")
    return result.stdout


def attempt(
    command: Sequence[str | Path],
    *,
    stdin: str | None = None,
    timeout: float = 60,
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command whose failure is an answer, not an error; exit 124 when it ran too long."""
    arguments = [str(part) for part in command]
    try:
        return subprocess.run(
            arguments,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            timeout=timeout,
            env=environment(env),
            check=False,
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(arguments, 124, "", f"no answer in {timeout:.0f} s")
    except FileNotFoundError:
        return subprocess.CompletedProcess(arguments, 127, "", f"{arguments[0]} is not installed")


def run(
    stage: Stage,
    command: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    quiet: bool = False,
) -> None:
    """Run a long command with its output in the stage's log, its last line shown live.

    `quiet` keeps the lines out of the live display. Raises ClusterError with the end of the output.
    """
    lines: list[str] = []
    with stage.log.open("a") as log:
        log.write(f"$ {' '.join(map(str, command))}\n")
        process = subprocess.Popen(
            [str(part) for part in command],
            cwd=cwd,
            env=environment(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        with process:
            for line in process.stdout or ():
                log.write(line)
                if line := line.strip():
                    lines.append(line)
                    if not quiet and stage.live:
                        stage.say(line[:100])
    if process.returncode != 0:
        said = "\n".join(lines[-TAIL:])
        raise ClusterError(
            f"{' '.join(map(str, command))}: exit {process.returncode}\n{said}\n(log: {stage.log})"
        )
