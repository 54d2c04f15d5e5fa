"""References of images follow their inputs and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from e2e.cluster.images import Image, discover, staged_dockerfile
from e2e.cluster.shell import ClusterError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(tmp_path, "workloads/images/base/Dockerfile", "FROM debian:trixie-slim\n")
    write(tmp_path, "workloads/images/app/Dockerfile", "FROM scoreboard/base\nCOPY src /src\n")
    write(tmp_path, "workloads/images/app/inputs", "src  # the code\n")
    write(tmp_path, "src/main.py", "print()\n")
    return tmp_path


def write(root: Path, path: str, text: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


def test_parents_come_first_even_when_only_the_child_is_asked_for(root: Path) -> None:
    assert [image.name for image in discover(root, ["app"])] == ["base", "app"]


def test_reference_is_the_same_in_another_checkout(root: Path) -> None:
    other = root / "elsewhere"
    for path in [p for p in root.rglob("*") if p.is_file()]:
        write(other, str(path.relative_to(root)), path.read_text())
    assert Image("app", root).reference == Image("app", other).reference


@pytest.mark.parametrize("path", ["src/main.py", "src/new.py", "workloads/images/base/Dockerfile"])
def test_any_input_of_it_or_its_parent_changes_the_reference(root: Path, path: str) -> None:
    before = Image("app", root).reference
    write(root, path, "FROM debian:trixie-slim\n# changed\n")
    assert Image("app", root).reference != before


@pytest.mark.parametrize("path", ["src/__pycache__/main.pyc", "docs/page.md", "src/.venv/x"])
def test_what_is_no_input_does_not(root: Path, path: str) -> None:
    before = Image("app", root).reference
    write(root, path, "noise")
    assert Image("app", root).reference == before


def test_executable_bit_counts(root: Path) -> None:
    before = Image("app", root).reference
    (root / "src/main.py").chmod(0o755)
    assert Image("app", root).reference != before


def test_input_that_is_not_there_is_named(root: Path) -> None:
    write(root, "workloads/images/app/inputs", "srx\n")
    with pytest.raises(ClusterError, match="srx"):
        _ = Image("app", root).files


def test_unknown_image_is_named(root: Path) -> None:
    with pytest.raises(ClusterError, match="nope"):
        discover(root, ["nope"])


def test_images_built_on_each_other_are_refused(root: Path) -> None:
    write(root, "workloads/images/base/Dockerfile", "FROM scoreboard/app\n")
    with pytest.raises(ClusterError, match="circle"):
        discover(root)


def test_staged_dockerfile_names_the_parent_and_the_host_settings(root: Path) -> None:
    image = Image("app", root)
    staged = staged_dockerfile(image, ["PIP_INDEX_URL"], None).splitlines()
    assert staged[0] == f"FROM {Image('base', root).reference}"
    assert staged[1] == "ARG PIP_INDEX_URL"


def test_maven_settings_stay_out_of_the_stage_that_ships(root: Path) -> None:
    text = "FROM debian:trixie-slim AS fetch\nRUN mvn\nFROM scoreboard/base\n"
    write(root, "workloads/images/app/Dockerfile", text)
    staged = staged_dockerfile(Image("app", root), [], ".host/settings.xml").splitlines()
    assert staged[1] == "COPY .host/settings.xml /root/.m2/settings.xml"
    assert staged[-1].startswith("FROM")
