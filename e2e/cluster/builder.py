"""Building images with the local engine and loading them into the cluster's nodes."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from . import base_images, host
from .archive import slim
from .images import Image, staged_dockerfile
from .paths import cache
from .progress import Stage
from .shell import ClusterError, attempt, output, run

MAVEN = ".host/settings.xml"
KEPT = 4
"""Older builds of an image that are kept, so that going back to a branch costs nothing."""


def build(stage: Stage, images: Iterable[Image]) -> list[Image]:
    """Build the images that the engine lacks, in order; returns those that were built."""
    missing = [image for image in images if not built(image.reference)]
    for suite in sorted({suite for image in missing for suite in image.bases}):
        base_images.ensure(stage, suite)
    for number, image in enumerate(missing, 1):
        stage.say(f"building {image.reference} ({number} of {len(missing)})")
        _build(stage, image)
        _forget_older(image.name)
    return missing


def built(reference: str) -> bool:
    return attempt(["docker", "image", "inspect", "-f", "{{.Id}}", reference]).returncode == 0


def _build(stage: Stage, image: Image) -> None:
    settings = host.build_settings()
    maven = host.maven_settings()
    with tempfile.TemporaryDirectory(prefix="scoreboard-build-") as folder:
        context = Path(folder)
        for path in image.files:
            target = context / path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(image.root / path, target)
        if maven is not None:
            (context / MAVEN).parent.mkdir()
            shutil.copyfile(maven, context / MAVEN)
        dockerfile = staged_dockerfile(image, settings, MAVEN if maven else None)
        (context / "Dockerfile").write_text(dockerfile)
        command = ["docker", "build", "--network", "host", "-t", image.reference]
        for name in (*settings, *host.PROXIES):
            command += ["--build-arg", name]
        proxy = host.apt_proxy()
        env = {**({"http_proxy": proxy} if proxy else {}), **builder_choice(), **settings}
        run(stage, [*command, str(context)], env=env)


def builder_choice() -> dict[str, str]:
    """The classic builder where BuildKit is not to be had: an old engine or no buildx client."""
    version = output(["docker", "version", "-f", "{{.Server.Version}}"]).split(".")[0]
    modern = int(version) >= 23 and attempt(["docker", "buildx", "version"]).returncode == 0
    return {"DOCKER_BUILDKIT": "1" if modern else "0"}


def _forget_older(name: str) -> None:
    """Remove all but the newest builds of an image; one that a container uses stays."""
    for reference in _references(f"scoreboard/{name}")[KEPT:]:
        attempt(["docker", "image", "rm", reference])


def load(stage: Stage, references: Sequence[str], nodes: Sequence[str]) -> list[str]:
    """Bring images into the nodes that lack them, all in one archive; returns those that were.

    The archive leaves out layers that all of these nodes have from other images.
    """
    lacking = {node: set(references) - in_node(node) for node in nodes}
    wanted = sorted(set().union(*lacking.values())) if lacking else []
    if not wanted:
        return []
    targets = [node for node, missing in lacking.items() if missing]
    with tempfile.TemporaryDirectory(prefix="load-", dir=cache("load").parent) as folder:
        saved, archive = Path(folder) / "saved.tar", Path(folder) / "images.tar"
        stage.say(f"saving {len(wanted)} images")
        run(stage, ["docker", "save", "-o", str(saved), *wanted])
        present = set.intersection(*(_blobs_in(node) for node in targets))
        layers = slim(saved, archive, present)
        saved.unlink()
        size = f"{layers} layers, {archive.stat().st_size >> 20} MiB"
        stage.say(f"loading {len(wanted)} images ({size}) into {', '.join(targets)}")
        with ThreadPoolExecutor(len(targets)) as pool:
            list(pool.map(lambda node: _import(node, archive), targets))
    for node in targets:
        _forget_in(node, keep=references)
    return wanted


def in_node(node: str) -> set[str]:
    """References of the images a node has, as they are written here (no docker.io/ in front)."""
    listed = output(["docker", "exec", node, "ctr", "-n", "k8s.io", "images", "ls", "-q"])
    return {line.removeprefix("docker.io/") for line in listed.split()}


def _blobs_in(node: str) -> set[str]:
    """Digests of what a node's content store holds, as hexadecimal SHA-256."""
    listed = output(["docker", "exec", node, "ctr", "-n", "k8s.io", "content", "ls", "-q"])
    return {line.removeprefix("sha256:") for line in listed.split()}


def _forget_in(node: str, keep: Sequence[str]) -> None:
    """Remove builds from a node that neither the engine keeps nor a container there uses."""
    kept = {*keep, *_references("scoreboard/*"), *_used_in(node)}
    ours = {image for image in in_node(node) if image.startswith("scoreboard/")}
    if old := sorted(ours - kept):
        attempt(["docker", "exec", node, "ctr", "-n", "k8s.io", "images", "rm", *old])


def _used_in(node: str) -> set[str]:
    listed = output(["docker", "exec", node, "ctr", "-n", "k8s.io", "containers", "ls"])
    rows = [line.split() for line in listed.splitlines()]
    return {row[1].removeprefix("docker.io/") for row in rows if len(row) > 1}


def _references(pattern: str) -> list[str]:
    """References of the engine's images, newest first."""
    template = "{{.Repository}}:{{.Tag}}"
    return output(["docker", "image", "ls", "--format", template, pattern]).split()


def _import(node: str, archive: Path) -> None:
    command = ["docker", "exec", "-i", node, "ctr", "-n", "k8s.io", "images", "import", "-"]
    with archive.open("rb") as content:
        result = subprocess.run(command, stdin=content, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise ClusterError(f"{node} refused the images: {result.stderr.strip()}")
