"""Secrets: made once, kept, renewed, restored."""

from __future__ import annotations

import json
from base64 import b64decode
from dataclasses import replace
from datetime import timedelta
from typing import Any

from boards import board, snapshot
from cryptography import x509

from scoreboard_operator.components.base import Snapshot
from scoreboard_operator.components.certificates import authority, status
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


def test_values_are_random() -> None:
    assert desired(board(), Snapshot()) != FIRST
