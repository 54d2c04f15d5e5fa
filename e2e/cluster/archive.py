"""An archive of images that holds only the layers its reader lacks.

`docker save` writes every layer every time. Nodes mostly have all but the last, which is small, so
what is sent to them is an OCI layout that names all layers and carries the missing ones.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Collection
from pathlib import Path
from typing import IO, Any

_OCI = "application/vnd.oci.image"
_GZIP = b"\x1f\x8b"
_BLOBS = "blobs/sha256/"


def slim(saved: Path, target: Path, present: Collection[str]) -> int:
    """Rewrite what `docker save` wrote, leaving out layers whose digests are `present`.

    Digests are hexadecimal SHA-256. Returns how many layers the new archive carries.
    """
    with tarfile.open(saved) as source, tarfile.open(target, "w") as archive:
        writer = _Writer(archive, set(present))
        manifests = [
            {**writer.image(source, image), "annotations": {"io.containerd.image.name": name}}
            for image in json.load(_content(source, "manifest.json"))
            for name in map(_full_name, image["RepoTags"])
        ]
        writer.file("oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        writer.file("index.json", json.dumps({"schemaVersion": 2, "manifests": manifests}).encode())
        return writer.layers


class _Writer:
    """Writes each blob once, and none that the reader has."""

    def __init__(self, archive: tarfile.TarFile, known: set[str]) -> None:
        self.archive = archive
        self.known = known
        self.layers = 0

    def image(self, source: tarfile.TarFile, image: dict[str, Any]) -> dict[str, Any]:
        """Write one image's blobs; returns the descriptor of its manifest."""
        config = _content(source, image["Config"]).read()
        contents = json.loads(config)["rootfs"]["diff_ids"]
        layers = [
            self._layer(source, path, diff_id.removeprefix("sha256:"))
            for path, diff_id in zip(image["Layers"], contents, strict=True)
        ]
        kind = f"{_OCI}.manifest.v1+json"
        manifest = {
            "schemaVersion": 2,
            "mediaType": kind,
            "config": self._blob(config, f"{_OCI}.config.v1+json"),
            "layers": layers,
        }
        return self._blob(json.dumps(manifest).encode(), kind)

    def _layer(self, source: tarfile.TarFile, path: str, diff_id: str) -> dict[str, Any]:
        """Older engines save plain layers in folders of their own, newer ones blobs by digest."""
        digest = path.removeprefix(_BLOBS) if path.startswith(_BLOBS) else diff_id
        content = _content(source, path)
        packed = content.read(2) == _GZIP
        size = content.seek(0, io.SEEK_END)
        content.seek(0)
        if digest not in self.known:
            self.known.add(digest)
            self.layers += 1
            self._add(f"{_BLOBS}{digest}", content, size)
        kind = f"{_OCI}.layer.v1.tar{'+gzip' if packed else ''}"
        return {"mediaType": kind, "digest": f"sha256:{digest}", "size": size}

    def _blob(self, content: bytes, kind: str) -> dict[str, Any]:
        digest = hashlib.sha256(content).hexdigest()
        if digest not in self.known:
            self.known.add(digest)
            self.file(f"{_BLOBS}{digest}", content)
        return {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(content)}

    def file(self, name: str, content: bytes) -> None:
        self._add(name, io.BytesIO(content), len(content))

    def _add(self, name: str, content: IO[bytes], size: int) -> None:
        entry = tarfile.TarInfo(name)
        entry.size = size
        self.archive.addfile(entry, content)


def _content(source: tarfile.TarFile, path: str) -> IO[bytes]:
    content = source.extractfile(path)  # follows the links that stand for repeated layers
    if content is None:
        raise ValueError(f"{path} is not a file of the archive")
    return content


def _full_name(reference: str) -> str:
    """The name under which Kubernetes looks an image up; a host has a dot, a colon or is local."""
    host = reference.partition("/")[0]
    has_host = "/" in reference and ("." in host or ":" in host or host == "localhost")
    return reference if has_host else f"docker.io/{reference}"
