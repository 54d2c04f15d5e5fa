"""Secrets of a Scoreboard: values that exist are kept, missing ones are made, bad ones refused.

Values come from the snapshot, so a pass over a complete board generates nothing and writes
nothing. A Secret someone deleted comes back with its old values (``Snapshot.secret_value``).
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Mapping

from scoreboard_operator.components.base import Board, Object, Snapshot
from scoreboard_operator.components.build import RETAIN_ANNOTATION, labels, metadata
from scoreboard_operator.components.certificates import authority, checks, generate, inventory
from scoreboard_operator.components.certificates.authority import KeyPair


def desired(board: Board, snapshot: Snapshot) -> list[Object]:
    """Every Secret of the board.

    Raises:
        UserError: a value exists and cannot be used (``SecretInvalid``).
    """
    secrets: dict[str, dict[str, bytes]] = {}
    for name, keys in inventory.passwords(board).items():
        secrets[name] = {key: _password(snapshot, name, key) for key in keys}
    kafka = f"{board.name}-kafka-credentials"
    secrets[kafka]["cluster-id"] = _kept(
        snapshot, kafka, "cluster-id", generate.cluster_id, checks.password
    )
    for name, sources in inventory.copies(board).items():
        secrets[name] = {key: secrets[source][part] for key, (source, part) in sources.items()}

    signing = f"{board.name}-jwt-signing"
    private = _kept(
        snapshot, signing, "jwks-private.json", generate.signing_keys, checks.signing_keys
    )
    secrets[signing] = {"jwks-private.json": private}
    secrets[f"{board.name}-jwt-public"] = {"jwks.json": generate.public_keys(private)}
    requests = f"{board.name}-request-signing"
    secrets[requests] = {
        "master-key": _kept(
            snapshot, requests, "master-key", generate.master_key, checks.master_key
        )
    }

    root = _authority(board, snapshot)
    secrets[f"{board.name}-ca"] = {"ca.crt": root.certificate, "ca.key": root.key}
    retained = inventory.retained_names(board)
    kept = [_secret(board, name, data, retain=name in retained) for name, data in secrets.items()]
    return kept + [_leaf(board, snapshot, root, leaf) for leaf in inventory.leaves(board)]


def _kept(
    snapshot: Snapshot,
    name: str,
    key: str,
    make: Callable[[], bytes],
    fault: Callable[[bytes], str | None],
) -> bytes:
    value = snapshot.secret_value(name, key)
    if value is None:
        return make()
    found = fault(value)
    if found is not None:
        raise checks.invalid(name, key, found)
    return value


def _password(snapshot: Snapshot, name: str, key: str) -> bytes:
    return _kept(snapshot, name, key, generate.password, checks.password)


def _authority(board: Board, snapshot: Snapshot) -> KeyPair:
    name, now = f"{board.name}-ca", authority.utc_now()
    certificate = snapshot.secret_value(name, "ca.crt")
    found = checks.authority(name, certificate, snapshot.secret_value(name, "ca.key"))
    if found is not None and not authority.authority_expired(found, now):
        return found
    return authority.new_authority(f"{board.namespace}/{board.name} Scoreboard CA", now)


def _leaf(board: Board, snapshot: Snapshot, root: KeyPair, leaf: inventory.Leaf) -> Object:
    name, now = f"{board.name}-{leaf.component}-tls", authority.utc_now()
    certificate = snapshot.secret_value(name, "tls.crt")
    key = snapshot.secret_value(name, "tls.key")
    pair = KeyPair(certificate, key) if certificate and key else None
    if pair is None or not authority.leaf_is_sound(
        pair, root.certificate, leaf.hosts, leaf.addresses, now
    ):
        pair = authority.issue(root, leaf.component, leaf.hosts, leaf.addresses, now)
    data = {"tls.crt": pair.certificate, "tls.key": pair.key, "ca.crt": root.certificate}
    return _secret(board, name, data, retain=False, kind="kubernetes.io/tls")


def _secret(
    board: Board, name: str, data: Mapping[str, bytes], *, retain: bool, kind: str = "Opaque"
) -> Object:
    label_set = labels(board, "certificates", "certificates", version="v1")
    annotations = {RETAIN_ANNOTATION: "true"} if retain else None
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata(board, name, label_set, annotations),
        "type": kind,
        "data": {key: b64encode(value).decode() for key, value in data.items()},
    }
