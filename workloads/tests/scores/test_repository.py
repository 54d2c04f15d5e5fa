"""What the statements promise that no model of them can show."""

import pytest

from scoreboard.scores import repository


@pytest.mark.parametrize("statement", [repository.WRITE, repository._LOOKUP])
def test_a_replay_writes_something_so_that_its_commit_waits_for_the_standbys(
    statement: str,
) -> None:
    assert "pg_logical_emit_message(true," in statement  # true: as part of the transaction
