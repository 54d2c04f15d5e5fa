"""Where things are: the checkout, and the cache that outlives it."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""The checkout this code runs from. Nothing outside it may be named after it."""

IMAGES = ROOT / "workloads" / "images"
NODE = Path(__file__).resolve().parent / "node"
CHART = ROOT / "charts" / "scoreboard-operator"
SAMPLE = ROOT / "docs" / "samples" / "demo.yaml"


def cache(*parts: str) -> Path:
    """A path in the cache folder (`SCOREBOARD_CACHE`, else ~/.cache/scoreboard); parents exist."""
    home = os.environ.get("SCOREBOARD_CACHE") or Path.home() / ".cache" / "scoreboard"
    path = Path(home).joinpath(*parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


KUBECONFIG = cache("kubeconfig")
"""The admin's kubeconfig of the local cluster, whatever the default one holds."""
