"""Secrets: made once, kept, renewed, restored."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from boards import board, snapshot
from cryptography import x509

from scoreboard_operator.components.base import Snapshot, UserError
from scoreboard_operator.components.certificates import authority, inventory, status
from scoreboard_operator.components.certificates.authority import KeyPair
from scoreboard_operator.components.certificates.desired import desired


def _by_name(objects: list[Any]) -> dict[str, Any]:
    return {o["metadata"]["name"]: o for o in objects}


def _data(secret: Any, key: str) -> bytes:
    return b64decode(secret["data"][key])


FIRST = desired(board(), snapshot())


def test_a_second_pass_changes_nothing() -> None:
    assert desired(board(), snapshot(*FIRST)) == FIRST


def test_status_waits_for_every_secret() -> None:
    assert status.status(board(), snapshot(*FIRST), None).ready
    assert not status.status(board(), snapshot(*FIRST[1:]), None).ready


def test_service_credentials_are_the_engines_own() -> None:
    secrets = _by_name(FIRST)
    assert _data(secrets["demo-score-credentials"], "kafka-password") == _data(
        secrets["demo-kafka-credentials"], "score-password"
    )


def test_public_keys_hold_no_private_part() -> None:
    keys = json.loads(_data(_by_name(FIRST)["demo-jwt-public"], "jwks.json"))["keys"]
    assert keys
    assert all("d" not in key for key in keys)


def test_leaves_chain_to_the_authority_and_cover_their_services() -> None:
    secrets = _by_name(FIRST)
    root = x509.load_pem_x509_certificate(_data(secrets["demo-ca"], "ca.crt"))
    leaf = x509.load_pem_x509_certificate(_data(secrets["demo-db-tls"], "tls.crt"))
    leaf.verify_directly_issued_by(root)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "demo-db-3-zone-c.demo.svc" in names.get_values_for_type(x509.DNSName)


def test_a_leaf_that_lacks_a_name_is_issued_anew() -> None:
    three = _by_name(FIRST)
    narrower = desired(board(zones=("zone-a",)), snapshot())
    mixed = _by_name(narrower) | {"demo-ca": three["demo-ca"]}
    again = _by_name(desired(board(), snapshot(*mixed.values())))
    assert again["demo-db-tls"] != mixed["demo-db-tls"]
    assert again["demo-ca"] == three["demo-ca"]


def test_leaf_is_renewed_before_it_ends() -> None:
    root = authority.new_authority("ca", authority.utc_now())
    leaf = authority.issue(root, "kafka", ["host"], [], authority.utc_now())
    now = authority.utc_now()
    assert authority.leaf_is_sound(leaf, root.certificate, ["host"], [], now)
    late = now + authority.LEAF_LIFETIME - authority.RENEW_BEFORE + timedelta(hours=1)
    assert not authority.leaf_is_sound(leaf, root.certificate, ["host"], [], late)
    other = authority.new_authority("other", now)
    assert not authority.leaf_is_sound(leaf, other.certificate, ["host"], [], now)
    assert not authority.leaf_is_sound(KeyPair(b"x", b"y"), root.certificate, ["host"], [], now)


def test_a_deleted_secret_comes_back_with_its_values() -> None:
    gone = _by_name(FIRST)["demo-db-credentials"]
    left = [o for o in FIRST if o is not gone]
    restored = desired(
        board(), replace(snapshot(*left), other_secrets={"demo-db-credentials": gone})
    )
    assert _by_name(restored)["demo-db-credentials"]["data"] == gone["data"]


def test_keys_outlive_the_board_and_leaves_do_not() -> None:
    secrets = _by_name(FIRST)
    kept = secrets["demo-db-credentials"]["metadata"]["annotations"]
    assert kept == {"scoreboard.dev/retain": "true"}
    assert "annotations" not in secrets["demo-db-tls"]["metadata"]
    retained = [name for name, o in secrets.items() if "annotations" in o["metadata"]]
    assert sorted(retained) == sorted(inventory.retained_names(board()))


def test_values_are_random() -> None:
    assert desired(board(), Snapshot()) != FIRST


def _with(name: str, **values: bytes | None) -> Snapshot:
    """The complete board, with some values of one Secret replaced (None: taken out)."""
    secrets = _by_name(FIRST)
    data = dict(secrets[name]["data"])
    for key, value in values.items():
        del data[key]
        if value is not None:
            data[key] = b64encode(value).decode()
    return snapshot(*(secrets | {name: {**secrets[name], "data": data}}).values())


def _jwks(**changes: Any) -> bytes:
    keys = json.loads(_data(_by_name(FIRST)["demo-jwt-signing"], "jwks-private.json"))["keys"]
    return json.dumps({"keys": [keys[0] | changes]}).encode()


OTHER = authority.new_authority("other", authority.utc_now())


@pytest.mark.parametrize(
    ("name", "values", "told"),
    [
        ("db-credentials", {"owner-password": b""}, "key owner-password: it is empty"),
        ("kafka-credentials", {"cluster-id": b"\n"}, "key cluster-id: it is empty"),
        ("request-signing", {"master-key": b"short"}, "key master-key: it is not base64url"),
        ("jwt-signing", {"jwks-private.json": b"{"}, "key jwks-private.json: it is no JWK set"),
        ("jwt-signing", {"jwks-private.json": b"[]"}, "it is no JWK set"),
        ("jwt-signing", {"jwks-private.json": b'{"keys": 1}'}, "it is no JWK set"),
        ("jwt-signing", {"jwks-private.json": b'{"keys": []}'}, "it holds no private key"),
        ("jwt-signing", {"jwks-private.json": b"\xff"}, "it is no JWK set"),
        ("jwt-signing", {"jwks-private.json": _jwks(x="AAAA")}, "not a whole Ed25519 key"),
        ("ca", {"ca.crt": b"lost"}, "key ca.crt: it is no PEM certificate"),
        ("ca", {"ca.key": b""}, "key ca.key: it is no PEM private key"),
        ("ca", {"ca.key": OTHER.key}, "key ca.key: it does not belong to ca.crt"),
        ("ca", {"ca.key": None}, "key ca.crt: ca.key, which belongs to it, is missing"),
    ],
)
def test_values_that_cannot_be_used_are_the_users_to_mend(
    name: str, values: dict[str, bytes | None], told: str
) -> None:
    with pytest.raises(UserError) as caught:
        desired(board(), _with(f"demo-{name}", **values))
    assert caught.value.reason == "SecretInvalid"
    assert caught.value.message.startswith(f"Secret demo-{name} key ")
    assert told in caught.value.message
    assert "restore it from a backup or delete the key" in caught.value.message


def test_a_key_that_was_deleted_is_generated_anew() -> None:
    again = _by_name(desired(board(), _with("demo-db-credentials", **{"owner-password": None})))
    before = _by_name(FIRST)["demo-db-credentials"]["data"]
    changed = {k for k, v in again["demo-db-credentials"]["data"].items() if before[k] != v}
    assert changed == {"owner-password"}


def test_an_authority_that_is_gone_or_expired_is_made_anew() -> None:
    gone = _by_name(desired(board(), _with("demo-ca", **{"ca.crt": None, "ca.key": None})))
    assert gone["demo-ca"] != _by_name(FIRST)["demo-ca"]
    past = authority.utc_now() - authority.AUTHORITY_LIFETIME - timedelta(days=1)
    old = authority.new_authority("old", past)
    live = _with("demo-ca", **{"ca.crt": old.certificate, "ca.key": old.key})
    renewed = _by_name(desired(board(), live))
    assert _data(renewed["demo-ca"], "ca.crt") != old.certificate
    root = x509.load_pem_x509_certificate(_data(renewed["demo-ca"], "ca.crt"))
    x509.load_pem_x509_certificate(
        _data(renewed["demo-kafka-tls"], "tls.crt")
    ).verify_directly_issued_by(root)
