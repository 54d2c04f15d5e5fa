"""What this machine's settings are, so that image builds use the same registries and trust.

Nothing here is written into the repository or named in it: values come from the environment and the
machine's own configuration files, and are passed on only when they are set.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from .shell import ClusterError, attempt

BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
LOCAL_CAS = Path("/usr/local/share/ca-certificates")
SHIPPED_CAS = Path("/usr/share/ca-certificates")
PEM = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)

PASSED_ON = (
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
    "PIP_TRUSTED_HOST",
    "PIP_DEFAULT_TIMEOUT",
    "UV_INDEX_URL",
    "UV_DEFAULT_INDEX",
    "GOPROXY",
    "GONOSUMDB",
    "GOSUMDB",
    "NPM_CONFIG_REGISTRY",
    "MAVEN_ARGS",
)
"""Settings of package clients that a build inherits when the host has them."""

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")
"""Docker knows these by itself and keeps them out of the image's history."""

PIP_SETTINGS = {
    "global.index-url": "PIP_INDEX_URL",
    "global.extra-index-url": "PIP_EXTRA_INDEX_URL",
    "global.trusted-host": "PIP_TRUSTED_HOST",
}


def build_settings() -> dict[str, str]:
    """The host's package client settings, from its environment and the clients' own files."""
    found = {name: os.environ[name] for name in PASSED_ON if os.environ.get(name)}
    for line in attempt(["pip", "config", "list"]).stdout.splitlines():
        key, _, value = line.partition("=")
        if (name := PIP_SETTINGS.get(key)) and name not in found:
            found[name] = value.strip("'\"").replace("\\n", " ")
    if "GOPROXY" not in found and (proxy := _stated("go", "env", "-changed", "GOPROXY")):
        found["GOPROXY"] = proxy.partition("=")[2].strip("'\"")
    return found


def _stated(*command: str) -> str:
    result = attempt(command)
    return result.stdout.strip() if result.returncode == 0 else ""


def maven_settings() -> Path | None:
    """The user's own Maven settings (mirrors, credentials), if there are any."""
    path = Path.home() / ".m2" / "settings.xml"
    return path if path.is_file() else None


def extra_cas() -> list[str]:
    """Certificates this machine trusts beyond those its distribution ships, as PEM texts."""
    if not BUNDLE.is_file():
        return []
    shipped: set[str] = set()
    for path in SHIPPED_CAS.rglob("*.crt"):
        shipped.update(_normal(text) for text in PEM.findall(path.read_text(errors="replace")))
    trusted = PEM.findall(BUNDLE.read_text(errors="replace"))
    return [text for text in trusted if _normal(text) not in shipped]


def _normal(pem: str) -> str:
    return "".join(pem.split())


def debian_mirrors(lists: str) -> tuple[str, str]:
    """The Debian mirror and the security mirror that the host's apt lists name.

    `lists` is the text of the apt source files, of either format. A security mirror that is not
    named is taken to stand beside the main one, as it does at Debian's.

    Raises:
        ClusterError: no Debian mirror is named.
    """
    uris = re.findall(r"^(?:URIs:|deb(?:\s+\[[^\]]*\])?)\s+(\S+)", lists, re.MULTILINE)
    main = [uri for uri in uris if re.search(r"/debian/?$", uri)]
    security = [uri for uri in uris if re.search(r"debian-security/?$", uri)]
    if not main:
        raise ClusterError("no Debian mirror is named in /etc/apt/sources.list or sources.list.d")
    return main[0], security[0] if security else main[0].rstrip("/") + "-security"


def apt_lists() -> str:
    """The text of every apt source file of this machine."""
    folder = Path("/etc/apt")
    files = [folder / "sources.list", *sorted((folder / "sources.list.d").glob("*"))]
    return "\n".join(path.read_text() for path in files if path.is_file())


def apt_proxy() -> str:
    """The HTTP proxy apt is told to use, or an empty string."""
    said = _stated("apt-config", "shell", "PROXY", "Acquire::http::Proxy")
    return said.partition("=")[2].strip("'\"")
