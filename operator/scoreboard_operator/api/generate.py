"""Writes every file that is generated from the API models: ``make generate``."""

from __future__ import annotations

from pathlib import Path

from scoreboard_operator.api import GROUP, PLURAL, reference, schema

_FILE = f"{GROUP}_{PLURAL}.yaml"
_CHART = "charts/scoreboard-operator/charts/scoreboard-crds/templates"


def files() -> dict[str, str]:
    """Every generated file, by its path from the root of the repository."""
    return {
        f"crds/{_FILE}": schema.render(),
        f"{_CHART}/{_FILE}": schema.render(keep=True),
        "docs/reference.md": reference.render(),
    }


if __name__ == "__main__":
    for path, text in files().items():
        Path(path).write_text(text)
