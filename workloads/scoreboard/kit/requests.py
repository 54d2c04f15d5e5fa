"""Small facts about an HTTP request that several services need (pure)."""

import ipaddress
from collections.abc import Mapping
from typing import Final

USER_AGENT_CHARS: Final = 200


def client_address(forwarded_for: str | None, peer: str | None, trusted_hops: int) -> str | None:
    """Return the client's IP address, or None when nothing usable says it.

    Each trusted proxy appends the address it saw to X-Forwarded-For, so the client is the entry
    `trusted_hops` from the right; what stands further left was sent by the client and proves
    nothing. Without proxies (`trusted_hops` 0) or without the header it is the peer itself.
    """
    candidate = peer
    entries = [part.strip() for part in (forwarded_for or "").split(",") if part.strip()]
    if entries and trusted_hops > 0:
        candidate = entries[max(0, len(entries) - trusted_hops)]
    return _address(candidate)


def _address(text: str | None) -> str | None:
    try:
        parsed = ipaddress.ip_address((text or "").split("%")[0])
    except ValueError:
        return None
    mapped = getattr(parsed, "ipv4_mapped", None)
    return str(mapped or parsed)


def throttle_network(address: str | None) -> str:
    """Return the network a client is counted under: an IPv4 address, or an IPv6 /64.

    One IPv6 subscriber has a whole /64 at hand, so counting single addresses would not count.
    """
    if address is None:
        return "unknown"
    parsed = ipaddress.ip_address(address)
    if parsed.version == 4:
        return str(parsed)
    return str(ipaddress.ip_network((parsed, 64), strict=False))


def user_agent(headers: Mapping[str, str]) -> str | None:
    """Return the User-Agent, printable and cut to what the sessions table holds."""
    text = "".join(c for c in headers.get("user-agent", "") if c.isprintable())
    return text[:USER_AGENT_CHARS] or None
