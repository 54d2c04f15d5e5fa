"""A Docker engine that answers: the one that is there, or one installed and started here."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

from . import node_image
from .paths import cache
from .progress import Stage
from .shell import ClusterError, attempt, run

START_LIMIT = 60.0
"""Seconds a started engine may take to answer; it repairs its state first after a power-off."""

CAP_SYS_RESOURCE = 24
PACKAGES = ("docker.io", "iptables", "debootstrap", "kmod")
PIDFILES = {
    "dockerd": Path("/var/run/docker.pid"),
    "containerd": Path("/var/run/docker/containerd/containerd.pid"),
}

BRIDGE = "198.18.0.1/24"
POOL = {"base": "198.18.64.0/18", "size": 24}
"""Networks of the engine come from 198.18.0.0/15, which no real network uses."""


def ensure(stage: Stage) -> None:
    """Have an engine that answers. Raises ClusterError saying what is missing otherwise."""
    if answers():
        stage.done(f"Docker {version()}")
        return
    if os.geteuid() != 0:
        raise ClusterError(
            "no Docker engine answers. Start it, and see that this user may use it "
            "(usermod -aG docker $USER, then log in again)"
        )
    if Path("/run/systemd/system").is_dir() and _started_by_systemd(stage):
        stage.done(f"Docker {version()}, started by systemd")
        return
    _install(stage)
    if not answers():  # on a machine with systemd, installing it has started it
        _start(stage)
    stage.done(f"Docker {version()}, started here")


def answers() -> bool:
    return attempt(["docker", "version", "-f", "{{.Server.Version}}"], timeout=10).returncode == 0


def version() -> str:
    return attempt(["docker", "version", "-f", "{{.Server.Version}}"], timeout=10).stdout.strip()


def restricted() -> bool:
    """Whether CAP_SYS_RESOURCE is out of reach of everything on this machine, even of root."""
    return is_restricted(Path("/proc/self/status").read_text())


def is_restricted(status: str) -> bool:
    """The same, from the text of a /proc/<pid>/status."""
    for line in status.splitlines():
        name, _, value = line.partition(":")
        if name == "CapBnd":
            return not int(value, 16) >> CAP_SYS_RESOURCE & 1
    return False


def _started_by_systemd(stage: Stage) -> bool:
    if attempt(["systemctl", "cat", "docker.service"]).returncode != 0:
        return False
    stage.say("starting docker.service")
    attempt(["systemctl", "start", "docker.service"], timeout=START_LIMIT)
    return _answers_within(START_LIMIT)


def _install(stage: Stage) -> None:
    missing = [tool for tool in ("dockerd", "iptables", "debootstrap") if not shutil.which(tool)]
    if not missing:
        return
    if not shutil.which("apt-get"):
        raise ClusterError(f"missing: {', '.join(missing)}. Install Docker Engine and retry")
    stage.say(f"installing {', '.join(PACKAGES)}")
    env = {"DEBIAN_FRONTEND": "noninteractive"}
    run(stage, ["apt-get", "-q", "update"], env=env)
    wanted = [name for name in PACKAGES if not (name == "docker.io" and shutil.which("dockerd"))]
    if not shutil.which("docker") and attempt(["apt-cache", "show", "docker-cli"]).returncode == 0:
        wanted.append("docker-cli")  # a package of its own in newer Debians
    run(stage, ["apt-get", "install", "-y", "-q", "--no-install-recommends", *wanted], env=env)


def _start(stage: Stage) -> None:
    """Start dockerd as a process of its own session, which outlives this one."""
    for name, path in PIDFILES.items():
        clear_stale_pid(path, name)
    raise_limits()
    folder = cache("engine", "dockerd.log").parent
    runtime = None
    if restricted():
        runtime = node_image.runtime_shim(stage)
    settings = configuration(Path("/etc/docker/daemon.json"), runtime)
    path = folder / "daemon.json"
    path.write_text(json.dumps(settings, indent=1))
    stage.say("starting dockerd")
    with (folder / "dockerd.log").open("ab") as log:
        subprocess.Popen(
            ["dockerd", "--config-file", str(path)],
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            # A test harness may wait for every process that carries its environment.
            env={
                k: v for k, v in os.environ.items() if k in ("PATH", "HOME") or "PROXY" in k.upper()
            },
        )
    if not _answers_within(START_LIMIT):
        last = "\n".join((folder / "dockerd.log").read_text(errors="replace").splitlines()[-15:])
        raise ClusterError(f"dockerd did not start (log: {folder / 'dockerd.log'}):\n{last}")


def configuration(own: Path, runtime: Path | None) -> dict[str, object]:
    """The engine's settings: the machine's own where it has some, ours where it has none."""
    settings: dict[str, object] = {
        "bip": BRIDGE,
        "default-address-pools": [POOL],
        "log-driver": "json-file",
        "log-opts": {"max-size": "10m", "max-file": "2"},
    }
    if not Path("/sys/fs/cgroup/cgroup.controllers").is_file():
        settings["default-cgroupns-mode"] = "private"
    if runtime is not None:
        settings["runtimes"] = {"scoreboard": {"path": str(runtime)}}
        settings["default-runtime"] = "scoreboard"
    if own.is_file():
        settings.update(json.loads(own.read_text() or "{}"))
    return settings


def clear_stale_pid(path: Path, name: str) -> None:
    """Remove the pid file of a program that is gone: its number may be another process by now."""
    if not path.is_file():
        return
    pid = path.read_text().strip()
    try:
        found = Path(f"/proc/{pid}/comm").read_text().strip() if pid else ""
    except OSError:
        found = ""
    if found != name:
        path.unlink()


def raise_limits() -> None:
    """More inotify watchers than one machine's default: four nodes share what there is."""
    for name, wanted in (("max_user_instances", 8192), ("max_user_watches", 1048576)):
        path = Path("/proc/sys/fs/inotify") / name
        try:
            if int(path.read_text()) < wanted:
                path.write_text(str(wanted))
        except OSError:
            continue


def _answers_within(seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if answers():
            return True
        time.sleep(0.5)
    return False
