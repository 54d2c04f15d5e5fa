"""The image of the cluster's nodes: `kindest/node` where it can be pulled, else made here.

Made here means: Kubernetes, containerd, CoreDNS and the volume provisioner from their Go modules,
the rest from Debian. The result is tagged by a hash of its inputs and kept as an archive in the
cache, so that an engine that lost its images gets it back in seconds.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from . import base_images, gobuild, versions
from .builder import builder_choice, built
from .paths import NODE, cache
from .progress import Stage
from .shell import attempt, output, run

PULL_TIMEOUT = 600.0
LOCAL = "scoreboard.local"
"""Registry name of images that only exist inside the nodes; it resolves to nothing."""


@dataclass(frozen=True)
class NodeImage:
    """A node image that is in the engine."""

    reference: str
    own: bool
    """Made here: brings no pod network of its own, so the cluster sets one up."""


def ensure(stage: Stage, *, restricted: bool) -> NodeImage:
    """Have a node image in the engine. `restricted`: this machine may not grant CAP_SYS_RESOURCE.

    A restricted machine always makes its own, because kind's lacks the runtime shim.
    """
    if not restricted and (pulled := _pulled(stage)):
        return NodeImage(pulled, own=False)
    recipe = Recipe(restricted)
    if not built(recipe.reference):
        if recipe.archive.is_file():
            stage.say(f"loading {recipe.reference} from the cache")
            run(stage, ["docker", "load", "-i", str(recipe.archive)])
        if not built(recipe.reference):
            _make(stage, recipe)
    return NodeImage(recipe.reference, own=True)


def _pulled(stage: Stage) -> str | None:
    """kind's image of this Kubernetes version, from the engine or its registry."""
    name = f"kindest/node:{versions.KUBERNETES}"
    if built(name):
        return name
    if not base_images.registry_answers():
        return None
    stage.say(f"pulling {name}")
    return (
        name
        if attempt(["docker", "pull", "-q", name], timeout=PULL_TIMEOUT).returncode == 0
        else None
    )


@dataclass(frozen=True)
class Recipe:
    """What the image made here depends on."""

    restricted: bool

    @cached_property
    def digest(self) -> str:
        programs = ",".join(f"{p.name}={p.version}" for p in versions.NODE_PROGRAMS)
        parts = [versions.KUBERNETES, programs, base_images.RECIPE, str(self.restricted)]
        return _hash([*parts, *_contents(NODE)])

    @property
    def reference(self) -> str:
        return f"scoreboard/node:{self.digest[:12]}"

    @property
    def archive(self) -> Path:
        return cache("node", self.digest[:12], "node.tar")

    @property
    def kubernetes(self) -> Path:
        """Where the multi-call program is kept; it depends on fewer inputs than the image does."""
        digest = _hash([versions.KUBERNETES, *_contents(NODE / "kubernetes")])
        return cache("bin", f"kubernetes-{versions.KUBERNETES}-{digest[:8]}", "kubernetes")


def runtime_shim(stage: Stage) -> Path:
    """The program that stands in front of runc on a restricted machine."""
    target = cache("bin", f"runtime-{_hash(_contents(NODE / 'runtime'))[:8]}", "runtime")
    if not target.is_file():
        stage.say("building the runtime shim")
        gobuild.compile_main(stage, NODE / "runtime", target, package=".")
    return target


def kubernetes(stage: Stage) -> Path:
    """The multi-call Kubernetes program; called `kubectl` it is one."""
    target = Recipe(restricted=False).kubernetes
    if not target.is_file():
        stage.say(
            f"building Kubernetes {versions.KUBERNETES} from its Go modules (several minutes)"
        )
        major, minor, _ = versions.KUBERNETES.removeprefix("v").split(".")
        said = {"gitVersion": versions.KUBERNETES, "gitMajor": major, "gitMinor": minor}
        flags = [f"-X k8s.io/component-base/version.{name}={value}" for name, value in said.items()]
        gobuild.compile_main(
            stage, NODE / "kubernetes", target, package=".", ldflags=" ".join(flags)
        )
    return target


def _make(stage: Stage, recipe: Recipe) -> None:
    base_images.ensure(stage, "bookworm")
    program = kubernetes(stage)
    programs = {p.name: gobuild.ensure(stage, p) for p in versions.NODE_PROGRAMS}
    context = cache("build", "node")
    shutil.rmtree(context, ignore_errors=True)
    shutil.copytree(NODE, context)
    for name in ("containerd", "ctr", "containerd-shim-runc-v2"):
        _place(programs[name], context / "bin")
    _place(program, context / "bin")
    if recipe.restricted:
        _place(runtime_shim(stage), context / "bin")
    names = _image_names(context / "bin")
    _system_images(stage, context, [program, *programs.values()], names)
    _fill_in(context / "files", names["pause"])
    stage.say(f"building {recipe.reference}")
    env = builder_choice()
    run(stage, [*DOCKER_BUILD, "-t", recipe.reference, str(context)], env=env)
    shutil.rmtree(context, ignore_errors=True)
    stage.say("keeping the image in the cache")
    part = recipe.archive.with_suffix(".part")
    run(stage, ["docker", "save", "-o", str(part), recipe.reference])
    part.rename(recipe.archive)


DOCKER_BUILD = ("docker", "build", "--network", "host")


def _image_names(folder: Path) -> dict[str, str]:
    """The image names that kubeadm will ask for, by component."""
    kubeadm = folder.parent / "kubeadm"
    kubeadm.symlink_to(folder / "kubernetes")
    asked = ("config", "images", "list", "--kubernetes-version", versions.KUBERNETES)
    listed = output([kubeadm, *asked]).split()
    kubeadm.unlink()
    return {image.rpartition("/")[2].partition(":")[0]: image for image in listed}


def _system_images(
    stage: Stage, context: Path, programs: Iterable[Path], names: dict[str, str]
) -> None:
    """Build the control plane's images under all their names into images.tar."""
    folder = context / "system"
    for program in programs:
        if program.name in ("kubernetes", "coredns", "local-path-provisioner"):
            _place(program, folder)
    targets = {"coredns": [names["coredns"]]}
    targets["sandbox"] = [names["pause"]]
    targets["provisioner"] = [f"{LOCAL}/provisioner:node"]
    targets["kubernetes"] = [f"{LOCAL}/kubernetes:node"] + [
        image for name, image in names.items() if name not in ("coredns", "pause")
    ]
    tags = [image for images in targets.values() for image in images]
    for target, images in targets.items():
        stage.say(f"building the {target} image of the nodes")
        tagged = [part for image in images for part in ("-t", image)]
        run(
            stage,
            [*DOCKER_BUILD, "--target", target, *tagged, str(folder)],
            env=builder_choice(),
        )
    run(stage, ["docker", "save", "-o", str(context / "images.tar"), *tags])
    shutil.rmtree(folder)
    # These names would look like the real ones to whoever uses the engine next.
    attempt(["docker", "image", "rm", *tags])


def _fill_in(files: Path, pause: str) -> None:
    config = files / "etc/containerd/config.toml"
    config.write_text(config.read_text().replace("@PAUSE@", pause))
    (files / "kind/version").write_text(versions.KUBERNETES)


def _place(program: Path, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    target = folder / program.name
    try:
        os.link(program, target)
    except OSError:
        shutil.copy2(program, target)


def _contents(folder: Path) -> list[str]:
    return [
        f"{path.relative_to(folder)} {path.stat().st_mode & 0o100} {_hash([path.read_bytes()])}"
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix not in (".md", ".pyc")
    ]


def _hash(parts: Iterable[str | bytes]) -> str:
    total = hashlib.sha256()
    for part in parts:
        total.update(part if isinstance(part, bytes) else part.encode())
        total.update(b"\0")
    return total.hexdigest()
