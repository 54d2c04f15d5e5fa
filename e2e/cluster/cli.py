"""The commands behind the Makefile; each is a short list of stages."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.markup import escape

from . import base_images, builder, demo, engine, install, kind, node_image, overview, tools
from .images import Image, discover
from .paths import cache
from .progress import Stage, alone, console, elapsed, finished, stage
from .shell import ClusterError

Names = Annotated[list[str] | None, typer.Argument(help="Image folders; all when left out.")]

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.command()
def up(sample: Annotated[bool, typer.Option(help="Also apply the sample.")] = True) -> None:
    """From whatever is there to a working Scoreboard; does only what is not done yet."""
    with alone():
        _up(sample=sample)


def _up(*, sample: bool) -> None:
    started = time.monotonic()
    cold = _cluster()
    found = discover()
    with stage("images") as current:
        _build(current, found)
    with stage("load") as current:
        _load(current, found)
    with stage("operator") as current:
        install.ensure(current, found)
    if sample:
        with stage("sample") as current:
            demo.ensure(current)
        with stage("player") as current:
            player = demo.ensure_player(current)
        demo.tell(player)
    seconds = time.monotonic() - started
    _note_times(seconds, cold=cold)
    console.print(f"Done in {elapsed(seconds)}.")


@app.command()
def cluster() -> None:
    """Only the engine, the tools and an empty three-zone cluster."""
    with alone():
        _cluster()


def _cluster() -> bool:
    """Returns whether the cluster was made anew."""
    restricted = engine.restricted()
    with stage("engine") as current:
        engine.ensure(current)
    with stage("base images") as current:
        for suite in base_images.SUITES:
            base_images.ensure(current, suite)
    with stage("node image") as current:
        image = node_image.ensure(current, restricted=restricted)
        current.done(image.reference)
    with stage("tools") as current:
        tools.ensure(current)
    with stage("cluster") as current:
        tools.ensure_kubectl(current, own_image=image.own)
        made = kind.ensure(current, image, restricted=restricted)
        tools.ensure_kubectl(current, own_image=image.own)
    return made


@app.command()
def images(names: Names = None, build_only: bool = False) -> None:
    """Build the images whose inputs changed and load them into the cluster."""
    found = discover(names=names or ())
    with stage("images") as current:
        _build(current, found)
    if not build_only and kind.workers():
        with stage("load") as current:
            _load(current, found)
    for image in found:
        console.print(f"{image.name}={image.reference}")


@app.command()
def dev() -> None:
    """The inner loop: rebuild and reload what changed, upgrade, wait until it works."""
    found = discover()
    with stage("images") as current:
        _build(current, found)
    with stage("load") as current:
        _load(current, found)
    with stage("operator") as current:
        install.ensure(current, found)
    if demo.present():
        with stage("sample") as current:
            demo.ensure(current)


@app.command()
def references(names: Names = None) -> None:
    """Print the reference of every image."""
    for image in discover(names=names or ()):
        console.print(f"{image.name}={image.reference}")


@app.command()
def down() -> None:
    """Delete the cluster. The engine, images and caches stay, so that the next `up` is quick."""
    with alone(), stage("down") as current:
        kind.delete()
        current.done("the cluster is gone")


@app.command()
def status() -> None:
    """The cluster, the operator and every Scoreboard at a glance."""
    overview.show()


@app.command()
def logs(
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as lines come.")] = False,
    stack: Annotated[bool, typer.Option(help="The sample's pods too.")] = True,
    tail: Annotated[int, typer.Option(help="Lines of each container.")] = 20,
) -> None:
    """Log lines of the operator and of the sample's pods."""
    overview.logs(follow=follow, stack=stack, tail=tail)


def _build(current: Stage, found: list[Image]) -> None:
    made = builder.build(current, found)
    current.done(f"{len(made)} built, {len(found) - len(made)} as they were")


def _load(current: Stage, found: list[Image]) -> None:
    nodes = kind.workers()
    loaded = builder.load(current, [image.reference for image in found], nodes)
    current.done(f"{len(loaded)} loaded into {len(nodes)} nodes")


def _note_times(seconds: float, *, cold: bool) -> None:
    """Append how long this run took, for `make bench-up` to print."""
    entry = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(seconds, 1),
        "cold": cold,
        "stages": {one.title: round(one.took, 1) for one in finished},
    }
    with cache("up-times.jsonl").open("a") as times:
        times.write(json.dumps(entry) + "\n")


def main() -> int:
    """Run a command; a failure that a person can act on is shown without a traceback."""
    try:
        app(standalone_mode=False)
    except ClusterError as error:
        console.print(f"\n[bold red]Stopped:[/] {escape(str(error))}")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0
