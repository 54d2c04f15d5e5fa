"""First process of a database member: one owner of the data directory, and Patroni kept running.

Patroni may die without PostgreSQL noticing. Left to the kubelet, a second death within minutes
waits out a growing back-off (17 s measured); restarted here it is back in a second, finds
PostgreSQL running and its leader key still valid, and writes go on.

Needs only the standard library and runs with ``-I -S``, to stay small beside PostgreSQL.
"""

import fcntl
import os
import signal
import subprocess
import sys
import time

sys.path.insert(0, "/opt/scoreboard")  # -I leaves the script's own folder out

import settings

CHECK_SECONDS = 10
"""How often the mounted files are looked at for a new version."""

STABLE_SECONDS = 60
"""A Patroni that ran this long does not count as failing to start."""

MOST_FAILURES = 8
"""After so many short runs in a row the pod fails, so that the cluster's tools show it."""

SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGCHLD}


def say(line: str) -> None:
    """One line in the pod's log."""
    sys.stdout.write(f"entrypoint: {line}\n")
    sys.stdout.flush()


def lock_data() -> int:
    """Own the data volume, waiting for a predecessor; returns the descriptor that holds the lock.

    A force-deleted pod and its successor overlap for up to a second, and volumes on a node's own
    disk let both in. The lock goes with the last process of the old pod.
    """
    descriptor = os.open(settings.DATA / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say("another pod still uses the data volume: waiting for it to end")
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor


def prepare() -> None:
    """PGDATA is a folder of its own inside the volume: PostgreSQL wants it 0700 and its owner's."""
    data = settings.DATA / "pgdata"
    data.mkdir(mode=0o700, exist_ok=True)
    data.chmod(0o700)


def start() -> subprocess.Popen[bytes]:
    """Start Patroni with the signals it expects unblocked."""
    return subprocess.Popen(
        ["/opt/venv/bin/patroni", str(settings.RENDERED)],
        # There are no other threads here that the hook could race with.
        preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS),  # noqa: PLW1509
    )


def reap(child: subprocess.Popen[bytes]) -> int | None:
    """Collect ended processes (orphans of Patroni too); the exit code when it was Patroni."""
    ended = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if pid == 0:
            return ended
        if pid == child.pid:
            ended = child.returncode = os.waitstatus_to_exitcode(status)


def supervise() -> int:
    """Run Patroni until told to stop; returns the exit code of the pod."""
    settings.write(settings.render(dict(os.environ)))
    seen = settings.fingerprint()
    child, started, failures, stopping = start(), time.monotonic(), 0, False
    while True:
        event = signal.sigtimedwait(SIGNALS, CHECK_SECONDS)
        if event is not None and event.si_signo in (signal.SIGTERM, signal.SIGINT):
            say("stopping")
            stopping = True
            child.send_signal(signal.SIGTERM)
        code = reap(child)
        if code is not None:
            if stopping:
                return code
            failures = 1 if time.monotonic() - started > STABLE_SECONDS else failures + 1
            if failures > MOST_FAILURES:
                say(f"patroni ended {failures} times in a row, the last with code {code}")
                return code or 1
            pause = min(failures, 5) - 0.5
            say(f"patroni ended with code {code}: starting it again in {pause:g} s")
            if signal.sigtimedwait({signal.SIGTERM, signal.SIGINT}, pause) is not None:
                return 0
            child, started = start(), time.monotonic()
        now = settings.fingerprint()
        if now != seen:
            seen = now
            reload(child)


def reload(child: subprocess.Popen[bytes]) -> None:
    """Take over changed files; Patroni then reloads itself, PostgreSQL and both certificates."""
    try:
        settings.write(settings.render(dict(os.environ)))
    except (settings.SettingsError, ValueError) as error:
        say(f"changed files are not usable, keeping the old ones: {error}")
        return
    say("mounted files changed: reloading")
    child.send_signal(signal.SIGHUP)


def main() -> int:
    """Own the volume, then supervise; one line on what is missing otherwise."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    os.umask(0o077)
    try:
        lock = lock_data()
        prepare()
        code = supervise()
    except (settings.SettingsError, OSError, ValueError) as error:
        say(f"cannot start: {error}")
        return 1
    os.close(lock)
    return code


if __name__ == "__main__":
    sys.exit(main())
