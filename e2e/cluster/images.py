"""What each image under workloads/images is built from, and so what its reference is.

Pure but for reading files: building and loading are in `builder.py`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from .paths import IMAGES, ROOT
from .shell import ClusterError

REPOSITORY = "scoreboard"
POLICY = "base-2"
"""Part of every hash; raised when base images or the way of building change what comes out."""

IGNORED = re.compile(
    r"(^|/)(__pycache__|\.venv|node_modules|\.[a-z_]+_cache|[^/]+\.egg-info)(/|$)|\.pyc$"
)
FROM = re.compile(r"^FROM\s+(?P<image>\S+)", re.MULTILINE | re.IGNORECASE)


@dataclass(frozen=True)
class Image:
    """One folder of workloads/images."""

    name: str
    root: Path

    @property
    def folder(self) -> Path:
        return self.root / "workloads" / "images" / self.name

    @cached_property
    def dockerfile(self) -> str:
        return (self.folder / "Dockerfile").read_text()

    @property
    def parents(self) -> tuple[str, ...]:
        """Names of the folders whose images this one is built on."""
        images = (match["image"] for match in FROM.finditer(self.dockerfile))
        prefix = f"{REPOSITORY}/"
        return tuple(
            i.removeprefix(prefix) for i in images if i.startswith(prefix) and ":" not in i
        )

    @property
    def bases(self) -> tuple[str, ...]:
        """Debian suites this image is built on."""
        images = (match["image"] for match in FROM.finditer(self.dockerfile))
        return tuple(sorted({m[1] for i in images if (m := re.match(r"debian:(\w+)-slim$", i))}))

    @cached_property
    def files(self) -> tuple[Path, ...]:
        """Every file of the build context, relative to the root, in a fixed order."""
        listed = self.folder / "inputs"
        patterns = [f"workloads/images/{self.name}"]
        if listed.is_file():
            lines = (line.partition("#")[0].strip() for line in listed.read_text().splitlines())
            patterns += [line for line in lines if line]
        return tuple(sorted(set(_expand(self.root, patterns, self.name))))

    @cached_property
    def reference(self) -> str:
        return f"{REPOSITORY}/{self.name}:{self.digest[:12]}"

    @cached_property
    def digest(self) -> str:
        """Hash over the paths, modes and bytes of all inputs and of the parents' inputs."""
        total = hashlib.sha256(POLICY.encode())
        for parent in self.parents:
            total.update(Image(parent, self.root).digest.encode())
        for path in self.files:
            real = self.root / path
            executable = "x" if real.stat().st_mode & 0o100 else "-"
            content = hashlib.sha256(real.read_bytes()).hexdigest()
            total.update(f"\n{path.as_posix()} {executable} {content}".encode())
        return total.hexdigest()


def _expand(root: Path, patterns: Iterable[str], name: str) -> Iterator[Path]:
    for pattern in patterns:
        matches = [root / pattern] if (root / pattern).exists() else list(root.glob(pattern))
        if not matches:
            raise ClusterError(f"workloads/images/{name}/inputs: nothing matches {pattern}")
        for match in matches:
            for path in [match] if match.is_file() else match.rglob("*"):
                relative = path.relative_to(root)
                if path.is_file() and not IGNORED.search(relative.as_posix()):
                    yield relative


def discover(root: Path = ROOT, names: Iterable[str] = ()) -> list[Image]:
    """Images in an order in which each comes after those it is built on; all, or those named."""
    folder = root / IMAGES.relative_to(ROOT)
    known = {path.parent.name for path in folder.glob("*/Dockerfile")}
    wanted = sorted(set(names) or known)
    if unknown := set(wanted) - known:
        raise ClusterError(f"no image is called {sorted(unknown)}; there are {sorted(known)}")
    ordered: dict[str, Image] = {}

    def visit(name: str, above: tuple[str, ...]) -> None:
        if name in above:
            raise ClusterError(f"images are built on each other in a circle: {' -> '.join(above)}")
        if name not in known:
            raise ClusterError(f"workloads/images/{above[-1]} is built on {name}: no such image")
        image = Image(name, root)
        for parent in image.parents:
            visit(parent, (*above, name))
        ordered.setdefault(name, image)

    for name in wanted:
        visit(name, ())
    return list(ordered.values())


def staged_dockerfile(image: Image, settings: Iterable[str], maven: str | None) -> str:
    """The Dockerfile as it is built here: parents by reference, host settings as build arguments.

    `settings` are names of build arguments; `maven` is the context path of a settings.xml, which
    only stages that do not ship get.
    """
    lines = image.dockerfile.splitlines()
    last = max((n for n, line in enumerate(lines) if FROM.match(line)), default=-1)
    staged: list[str] = []
    for number, line in enumerate(lines):
        match = FROM.match(line)
        if match is None:
            staged.append(line)
            continue
        parent = match["image"].removeprefix(f"{REPOSITORY}/")
        if parent in image.parents and match["image"] != parent:
            staged.append(line.replace(match["image"], Image(parent, image.root).reference, 1))
        else:
            staged.append(line)
        staged += [f"ARG {name}" for name in settings]
        if maven and number != last:
            staged.append(f"COPY {maven} /root/.m2/settings.xml")
    return "\n".join(staged) + "\n"
