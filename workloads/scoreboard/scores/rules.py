"""The board's rules: which changes a player may make (pure).

They come from rules.json, which the operator writes from `spec.rules` and which may change at any
moment without a restart.
"""

from typing import Final, Literal

import msgspec

from scoreboard.kit.problems import FieldError, Problem
from scoreboard.kit.ranking import MAX_SCORE

DEFAULT_ACTION: Final = "default"


class ActionRule(msgspec.Struct, frozen=True, rename="camel"):
    """Bounds of one action type's change, both inclusive."""

    min_change: int
    max_change: int


class Rules(msgspec.Struct, frozen=True, rename="camel"):
    """Every rule of a board."""

    max_score: int = 1_000_000_000
    """Largest score, and the largest negative one: |score| <= max_score."""
    operator: Literal["sum", "best", "last"] = "sum"
    updates_per_minute: int = 10
    """Accepted updates of one player in any sliding minute."""
    min_interval_ms: int = 0
    """Least time between two accepted updates of one player."""
    actions: dict[str, ActionRule] = msgspec.field(
        default_factory=lambda: {DEFAULT_ACTION: ActionRule(-1000, 1000)}
    )


def parse_rules(raw: bytes) -> Rules:
    """Parse rules.json. Raises ValueError with a sentence when it is not usable."""
    try:
        rules = msgspec.json.decode(raw, type=Rules)
    except msgspec.MsgspecError as error:
        raise ValueError(str(error)) from error
    if not 0 < rules.max_score <= MAX_SCORE:
        raise ValueError(f"maxScore must be within 1 and {MAX_SCORE}")
    if not 1 <= rules.updates_per_minute <= 10_000 or rules.min_interval_ms < 0:
        raise ValueError("updatesPerMinute must be 1 to 10000 and minIntervalMs not negative")
    for name, action in rules.actions.items():
        if action.min_change > action.max_change:
            raise ValueError(f"action {name}: minChange is larger than maxChange")
    return rules


def check_change(rules: Rules, action_type: str, change: int) -> None:
    """Raise Problem rule-violated when the action type is unknown or the change out of bounds."""
    action = rules.actions.get(action_type) or rules.actions.get(DEFAULT_ACTION)
    if action is None:
        known = ", ".join(sorted(rules.actions)) or "none"
        raise _violation("action_type", f"unknown action type; this board has: {known}")
    if not action.min_change <= change <= action.max_change:
        raise _violation(
            "change", f"must be within {action.min_change} and {action.max_change} for this action"
        )


def next_score(rules: Rules, current: int | None, change: int) -> int:
    """Return the score after a change; `current` is None for a player without one.

    Raises Problem rule-violated when the result would leave [-max_score, max_score].
    """
    if rules.operator == "last":
        result = change
    elif rules.operator == "best":
        result = change if current is None else max(current, change)
    else:
        result = (current or 0) + change
    if not -rules.max_score <= result <= rules.max_score:
        raise _violation(
            "change",
            f"the score would be {result}, outside {-rules.max_score} to {rules.max_score}",
        )
    return result


def _violation(field: str, message: str) -> Problem:
    return Problem("rule-violated", f"{field}: {message}", errors=[FieldError(field, message)])
