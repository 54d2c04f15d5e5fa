import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoreboard.kit.requests import client_address, throttle_network, user_agent


@pytest.mark.parametrize(
    ("forwarded", "peer", "hops", "expected"),
    [
        (None, "10.0.0.1", 1, "10.0.0.1"),
        ("198.18.0.9", "10.0.0.1", 1, "198.18.0.9"),
        ("1.1.1.1, 198.18.0.9", "10.0.0.1", 1, "198.18.0.9"),
        ("1.1.1.1, 198.18.0.9, 10.9.9.9", "10.0.0.1", 2, "198.18.0.9"),
        ("198.18.0.9", "10.0.0.1", 2, "198.18.0.9"),
        ("198.18.0.9", "10.0.0.1", 0, "10.0.0.1"),
        ("junk", "10.0.0.1", 1, None),
        ("::ffff:198.18.0.9", None, 1, "198.18.0.9"),
        ("fe80::1%eth0", None, 1, "fe80::1"),
        (None, None, 1, None),
    ],
)
def test_the_client_is_what_the_trusted_proxy_saw(
    forwarded: str | None, peer: str | None, hops: int, expected: str | None
) -> None:
    assert client_address(forwarded, peer, hops) == expected


@given(st.text(max_size=60), st.ip_addresses())
def test_nothing_a_client_sends_changes_its_address(sent: str, seen: object) -> None:
    honest = client_address(str(seen), None, 1)
    assert client_address(f"{sent}, {seen}", None, 1) == honest


@given(st.ip_addresses(v=6), st.integers(0, 2**64 - 1))
def test_a_subscribers_addresses_are_one_network(address: ipaddress.IPv6Address, host: int) -> None:
    neighbour = ipaddress.IPv6Address(int(address) >> 64 << 64 | host)
    assert throttle_network(str(address)) == throttle_network(str(neighbour))


def test_addresses_of_ipv4_are_counted_singly() -> None:
    assert throttle_network("198.18.0.1") != throttle_network("198.18.0.2")
    assert throttle_network(None) == "unknown"


@given(st.text(max_size=400))
def test_the_user_agent_fits_the_column(text: str) -> None:
    agent = user_agent({"user-agent": text})
    assert agent is None or (len(agent) <= 200 and agent.isprintable())
