"""Archives for the nodes name every layer and carry the missing ones."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest

from e2e.cluster.archive import slim

BASE, CODE = b"the base layer", b"the code layer"


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture(params=["folders", "blobs"])
def saved(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """What `docker save` writes for two images on one base, by older and by newer engines."""
    path = tmp_path / "saved.tar"
    images = []
    with tarfile.open(path, "w") as archive:
        for number, name in enumerate(("scoreboard/a:1", "registry.local/b:1")):
            config = json.dumps(
                {"n": number, "rootfs": {"diff_ids": [f"sha256:{digest(c)}" for c in (BASE, CODE)]}}
            ).encode()
            paths = [f"{number}-{index}/layer.tar" for index in range(2)]
            if request.param == "blobs":
                paths = [f"blobs/sha256/{digest(content)}" for content in (BASE, CODE)]
            for layer, content in zip(paths, (BASE, CODE), strict=True):
                add(archive, layer, content)
            add(archive, f"{number}.json", config)
            images.append({"Config": f"{number}.json", "RepoTags": [name], "Layers": paths})
        add(archive, "manifest.json", json.dumps(images).encode())
    return path


def add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))


def contents(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as archive:
        files = {m.name: archive.extractfile(m) for m in archive.getmembers()}
        return {name: file.read() for name, file in files.items() if file}


def test_shared_layers_are_carried_once(saved: Path, tmp_path: Path) -> None:
    assert slim(saved, tmp_path / "out.tar", []) == 2
    found = contents(tmp_path / "out.tar")
    assert found[f"blobs/sha256/{digest(BASE)}"] == BASE


def test_layers_that_are_there_are_named_but_not_carried(saved: Path, tmp_path: Path) -> None:
    assert slim(saved, tmp_path / "out.tar", [digest(BASE)]) == 1
    found = contents(tmp_path / "out.tar")
    assert f"blobs/sha256/{digest(BASE)}" not in found
    for image in json.loads(found["index.json"])["manifests"]:
        blob = found["blobs/sha256/" + image["digest"].removeprefix("sha256:")]
        layers = [layer["digest"] for layer in json.loads(blob)["layers"]]
        assert layers == [f"sha256:{digest(BASE)}", f"sha256:{digest(CODE)}"]


def test_names_are_those_kubernetes_looks_for(saved: Path, tmp_path: Path) -> None:
    slim(saved, tmp_path / "out.tar", [])
    index = json.loads(contents(tmp_path / "out.tar")["index.json"])
    names = [image["annotations"]["io.containerd.image.name"] for image in index["manifests"]]
    assert names == ["docker.io/scoreboard/a:1", "registry.local/b:1"]


def test_every_blob_is_what_its_name_says(saved: Path, tmp_path: Path) -> None:
    slim(saved, tmp_path / "out.tar", [])
    for name, content in contents(tmp_path / "out.tar").items():
        if name.startswith("blobs/"):
            assert name.removeprefix("blobs/sha256/") == digest(content)
