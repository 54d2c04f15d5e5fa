"""The commands behind the Makefile; each is a short list of stages."""

from __future__ import annotations

from typing import Annotated

import typer

from . import builder, kind
from .images import discover
from .progress import console, stage
from .shell import ClusterError

Names = Annotated[list[str] | None, typer.Argument(help="Image folders; all when left out.")]

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.command()
def images(names: Names = None, build_only: bool = False) -> None:
    """Build the images whose inputs changed and load them into the cluster."""
    found = discover(names=names or ())
    with stage("images") as current:
        made = builder.build(current, found)
        current.done(f"{len(made)} built, {len(found) - len(made)} as they were")
    if not build_only and (nodes := kind.workers()):
        with stage("load") as current:
            loaded = builder.load(current, [image.reference for image in found], nodes)
            current.done(f"{len(loaded)} loaded into {len(nodes)} nodes")
    for image in found:
        console.print(f"{image.name}={image.reference}")


@app.command()
def references(names: Names = None) -> None:
    """Print the reference of every image."""
    for image in discover(names=names or ()):
        console.print(f"{image.name}={image.reference}")


def main() -> int:
    """Run a command; a failure that a person can act on is shown without a traceback."""
    try:
        app(standalone_mode=False)
    except ClusterError as error:
        console.print(f"\n[bold red]Stopped:[/] {error}", markup=True)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0
