"""The services consist of objects only; the loop rolls them zone by zone."""

from scoreboard_operator.components.base import no_steps as steps

__all__ = ["steps"]
