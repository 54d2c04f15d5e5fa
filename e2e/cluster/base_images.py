"""The two Debian images that everything else is built on, pulled or made here.

Where they can be pulled they are. Where no registry answers, debootstrap makes them from the
host's own Debian mirror under the same names, so that the Dockerfiles are the same in both worlds.
"""

from __future__ import annotations

import hashlib
import shutil
from functools import lru_cache
from pathlib import Path

from . import host
from .paths import cache
from .progress import Stage
from .shell import ClusterError, attempt, output, run

SUITES = ("trixie", "bookworm")
RECIPE = "2"
"""Raised when the way these images are made here changes; part of their label and cache name."""

PULL_TIMEOUT = 120.0
PROBE_TIMEOUT = 15.0
LABEL = "dev.scoreboard.base"

APT = """\
APT::Install-Recommends "false";
Acquire::Languages "none";
Acquire::GzipIndexes "true";
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb"; };
"""
DPKG = """\
force-unsafe-io
path-exclude /usr/share/doc/*
path-include /usr/share/doc/*/copyright
path-exclude /usr/share/man/*
path-exclude /usr/share/info/*
path-exclude /usr/share/locale/*
"""
TRIMMED = ("usr/share/man", "usr/share/info", "usr/share/locale", "var/lib/apt/lists")


def ensure(stage: Stage, suite: str) -> None:
    """Have `debian:<suite>-slim` in the engine; raises when it can be had in neither way."""
    name = f"debian:{suite}-slim"
    if attempt(["docker", "image", "inspect", name]).returncode == 0 and _current(name):
        return
    if registry_answers():
        stage.say(f"pulling {name}")
        if attempt(["docker", "pull", "-q", name], timeout=PULL_TIMEOUT).returncode == 0:
            return
    _bootstrap(stage, suite, name)


@lru_cache(maxsize=1)
def registry_answers() -> bool:
    """Whether images can be pulled at all; asked once a run, because a 'no' can take long."""
    probe = ["docker", "pull", "-q", "debian:trixie-slim"]
    return attempt(probe, timeout=PROBE_TIMEOUT).returncode == 0


def _current(name: str) -> bool:
    """Whether an image is a pulled one, or made here by today's recipe and with today's CAs."""
    label = output(
        ["docker", "image", "inspect", "-f", f'{{{{index .Config.Labels "{LABEL}"}}}}', name]
    )
    return label.strip() in ("", "<no value>", _recipe())


def _recipe() -> str:
    return f"{RECIPE}-{hashlib.sha256(''.join(host.extra_cas()).encode()).hexdigest()[:8]}"


def _bootstrap(stage: Stage, suite: str, name: str) -> None:
    if shutil.which("debootstrap") is None:
        raise ClusterError(
            f"{name} can neither be pulled (no registry answers) nor made (no debootstrap)"
        )
    archive = cache("base", f"{suite}-{RECIPE}.tar")
    if not archive.is_file():
        stage.say(f"no registry answers, making {name} with debootstrap")
        _make_archive(stage, suite, archive)
    _import(stage, suite, name, archive)


def _make_archive(stage: Stage, suite: str, archive: Path) -> None:
    tree = cache("base", f"{suite}.tree")
    shutil.rmtree(tree, ignore_errors=True)
    mirror, security = host.debian_mirrors(host.apt_lists())
    proxy = host.apt_proxy()
    run(
        stage,
        ["debootstrap", "--variant=minbase", suite, tree, mirror],
        env={"http_proxy": proxy} if proxy else None,
    )
    (tree / "etc/apt/sources.list").write_text(
        f"deb {mirror} {suite} main\ndeb {mirror} {suite}-updates main\n"
        f"deb {security} {suite}-security main\n"
    )
    (tree / "etc/apt/apt.conf.d/container").write_text(APT)
    (tree / "etc/dpkg/dpkg.cfg.d/container").write_text(DPKG)
    for folder in TRIMMED:
        shutil.rmtree(tree / folder, ignore_errors=True)
        (tree / folder).mkdir(parents=True)
    for page in (tree / "usr/share/doc").rglob("*"):
        if page.name != "copyright" and not page.is_dir():
            page.unlink()
    for package in (tree / "var/cache/apt").rglob("*.*"):
        package.unlink()
    part = archive.with_suffix(".part")
    run(stage, ["tar", "-C", tree, "--numeric-owner", "--one-file-system", "-cf", part, "."])
    part.rename(archive)
    shutil.rmtree(tree, ignore_errors=True)


def _import(stage: Stage, suite: str, name: str, archive: Path) -> None:
    """Import the tree; the machine's own CAs go on top, where a build's TLS passes through one."""
    command = ["docker", "import", "-c", 'CMD ["bash"]', "-c", f"LABEL {LABEL}={_recipe()}"]
    extra = host.extra_cas()
    if not extra:
        run(stage, [*command, archive, name])
        return
    run(stage, [*command, archive, f"{name}-plain"])
    context = cache("base", f"{suite}.context")
    shutil.rmtree(context, ignore_errors=True)
    (context / "local").mkdir(parents=True)
    shutil.copy(host.BUNDLE, context / "bundle.crt")
    for number, pem in enumerate(extra):
        (context / "local" / f"host-{number}.crt").write_text(pem + "\n")
    bundle = str(host.BUNDLE)
    (context / "Dockerfile").write_text(
        f"FROM {name}-plain\n"
        f"COPY bundle.crt {bundle}\n"
        f"COPY local/ {host.LOCAL_CAS}/\n"
        f"ENV SSL_CERT_FILE={bundle} PIP_CERT={bundle} NODE_EXTRA_CA_CERTS={bundle}\n"
        f"LABEL {LABEL}={_recipe()}\n"
    )
    run(stage, ["docker", "build", "-t", name, context], env={"DOCKER_BUILDKIT": "0"})
