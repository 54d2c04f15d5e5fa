"""What the end-to-end tests share: the demo Scoreboard, players on it, and reports of failures.

The tests run on the cluster of `make up`, one after the other, in the order of ``ORDER``: first
those that only look and play, then those that disturb the demo Scoreboard or a one-zone one of
their own, which test_operator_killed creates and test_delete_keep_data removes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from e2e.support import cluster, data, metrics, solo
from e2e.support.api import Player
from e2e.support.board import DEMO, BoardHandle, conditions_of

ORDER = (
    "test_status",
    "test_main_job",
    "test_placement",
    "test_operator_killed",
    "test_drift",
    "test_bad_resources",
    "test_delete_keep_data",
)

READY_LIMIT = 120.0
LOG_LINES = 25


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the files in ``ORDER``, whatever their names are."""
    items.sort(key=lambda item: _place(item.path.stem))


def _place(name: str) -> int:
    return ORDER.index(name) if name in ORDER else len(ORDER)


@pytest.fixture(scope="session")
def standing() -> Iterator[BoardHandle]:
    """The demo Scoreboard, which has to be Ready before anything is tested."""
    try:
        assert cluster.get("Scoreboard", DEMO.namespace, DEMO.name), "it does not exist"
        DEMO.wait_ready(limit=READY_LIMIT)
    except (AssertionError, OSError) as error:
        pytest.exit(
            f"The Scoreboard demo/demo must be Ready before the end-to-end tests can run: {error}\n"
            "Bring it up with `make up`; `make status` tells what it waits for.",
            returncode=4,
        )
    yield DEMO
    data.remove_tools(DEMO)


@pytest.fixture
def demo(standing: BoardHandle) -> BoardHandle:
    """The demo Scoreboard, Ready again whatever the test before did to it."""
    standing.wait_ready(limit=READY_LIMIT)
    return standing


@pytest.fixture
def new_player(demo: BoardHandle) -> Iterator[Callable[[], Player]]:
    """Makes players who are registered and logged in; they give their points back at the end."""
    made: list[Player] = []

    def make() -> Player:
        made.append(demo.gateway.player())
        return made[-1]

    yield make
    for player in made:
        player.step_down()


@pytest.fixture(scope="session")
def clean_solo(standing: BoardHandle) -> Iterator[None]:
    """No one-zone Scoreboard of an earlier run at the start, and none left at the end."""
    solo.clear()
    yield
    solo.clear()


@pytest.fixture
def solo_board(clean_solo: None) -> BoardHandle:
    """The one-zone Scoreboard, Ready; created by the first test that needs it."""
    return solo.ensure_ready()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Add what the operator and the Scoreboards say to the report of a failed test."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if report.failed:
        report.sections.append(("Scoreboards", _scoreboards()))
        report.sections.append(("operator log", _operator_log()))


def _scoreboards() -> str:
    try:
        boards = cluster.listing("Scoreboard", None)
    except Exception as error:
        return f"the API server does not list Scoreboards: {error!r}"
    lines = []
    for board in boards:
        meta = board["metadata"]
        lines.append(f"{meta['namespace']}/{meta['name']} generation {meta['generation']}")
        for kind, condition in conditions_of(board).items():
            reason, message = condition["reason"], condition["message"]
            lines.append(f"  {kind}={condition['status']} {reason}: {message}")
    return "\n".join(lines)


def _operator_log() -> str:
    selector = f"--selector={metrics.OPERATOR_PODS}"
    tail = f"--tail={LOG_LINES}"
    return cluster.kubectl(
        "logs", "-n", metrics.OPERATOR_NAMESPACE, selector, tail, "--prefix"
    ).stdout


@pytest.fixture
def measured(record_property: Callable[[str, object], None]) -> Callable[[str, float], None]:
    """Prints a measured time and writes it into the JUnit report."""

    def note(what: str, seconds: float) -> None:
        record_property(what, round(seconds, 2))
        print(f"measured: {what}: {seconds:.2f} s")

    return note
