"""Does a live object already hold everything that is wanted? (Pure.)

Server-side apply owns exactly the fields it sends, so "nothing to do" means: every leaf of the
desired object is in the live one, with the same value. What others add beside ours is theirs.
A hash of the desired object, kept in an annotation, catches fields that are no longer wanted.
"""

from __future__ import annotations

import hashlib
import json
from decimal import Decimal
from typing import Any

from scoreboard_operator.components.base import Object

HASH_ANNOTATION = "scoreboard.dev/desired-hash"

# List items are matched by these keys where the API merges by them; others by position.
_MERGE_KEYS = ("name", "mountPath", "containerPort", "port", "key", "topologyKey")
# Maps the API treats as one value: an extra key in them is drift.
_ATOMIC_MAPS = frozenset({"selector", "matchLabels", "nodeSelector"})
# Lists the API treats as one value: an extra item in them is drift.
_ATOMIC_LISTS = frozenset({"subjects"})
_FALSE_WHEN_ABSENT = frozenset({"publishNotReadyAddresses", "readOnly"})


def stamped(desired: Object) -> Object:
    """The object with its own hash as an annotation."""
    metadata = dict(desired["metadata"])
    metadata["annotations"] = {
        **metadata.get("annotations", {}),
        HASH_ANNOTATION: digest(desired),
    }
    return {**desired, "metadata": metadata}


def digest(value: Any) -> str:
    """Short hash of a JSON-shaped value, equal for equal values."""
    body = json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
    return hashlib.sha256(body).hexdigest()[:16]


def differences(desired: Any, live: Any, path: str = "", limit: int = 5) -> list[str]:
    """Paths of desired leaves that are missing or different in ``live``; empty when none.

    At most ``limit`` paths are returned: they are for people to read.
    """
    found: list[str] = []
    _compare(desired, live, path, found, limit)
    return found


def _compare(desired: Any, live: Any, path: str, found: list[str], limit: int) -> None:
    if desired == live or len(found) >= limit:
        return
    if isinstance(desired, dict):
        _compare_maps(desired, live, path, found, limit)
    elif isinstance(desired, list):
        _compare_lists(desired, live, path, found, limit)
    elif not _same(desired, live, path):
        found.append(path)


def _same(desired: Any, live: Any, path: str) -> bool:
    if live is None and not desired:
        # The API server leaves out 0 and the empty string, and false only where absent means
        # false: without allowPrivilegeEscalation, for example, it would be true.
        return desired is not False or path.rsplit(".", 1)[-1] in _FALSE_WHEN_ABSENT
    if live is None:
        return False
    if ".resources." in path or path.endswith("sizeLimit"):
        return quantity(str(desired)) == quantity(str(live))
    return False


_SUFFIXES = {
    "m": Decimal("0.001"),
    "": Decimal(1),
    **{unit: Decimal(1000) ** power for power, unit in enumerate("kMGT", start=1)},
    **{f"{unit}i": Decimal(1024) ** power for power, unit in enumerate("KMGT", start=1)},
}


def quantity(text: str) -> Decimal:
    """Value of a Kubernetes quantity, since the API server rewrites ``1024Mi`` to ``1Gi``."""
    number = text.rstrip("mkKMGTi")
    return Decimal(number) * _SUFFIXES[text[len(number) :]]


def _compare_maps(desired: Object, live: Any, path: str, found: list[str], limit: int) -> None:
    if not isinstance(live, dict):
        # The API server drops empty maps, so an absent one equals an empty one.
        if desired:
            found.append(path)
        return
    if path.rsplit(".", 1)[-1] in _ATOMIC_MAPS and set(live) - set(desired):
        found.append(path)
        return
    for key, value in desired.items():
        other = live.get(key)
        if value is not other and value != other:
            _compare(value, other, f"{path}.{key}" if path else key, found, limit)


def _compare_lists(desired: list[Any], live: Any, path: str, found: list[str], limit: int) -> None:
    if not isinstance(live, list):
        if desired:
            found.append(path)
        return
    merge_key = _merge_key(desired)
    if merge_key is None:
        if len(desired) != len(live):
            found.append(path)
            return
        for index, (want, have) in enumerate(zip(desired, live, strict=True)):
            _compare(want, have, f"{path}[{index}]", found, limit)
        return
    if path.rsplit(".", 1)[-1] in _ATOMIC_LISTS and len(desired) != len(live):
        found.append(path)
        return
    by_key = {item.get(merge_key): item for item in live if isinstance(item, dict)}
    for item in desired:
        name = item[merge_key]
        _compare(item, by_key.get(name), f"{path}[{name}]", found, limit)


def _merge_key(items: list[Any]) -> str | None:
    if not items or not all(isinstance(item, dict) for item in items):
        return None
    for key in _MERGE_KEYS:
        values = [item.get(key) for item in items]
        if all(value is not None for value in values) and len(set(map(str, values))) == len(values):
            return key
    return None
