"""The gateway consists of objects only; the loop rolls it zone by zone."""

from scoreboard_operator.components.base import no_steps as steps

__all__ = ["steps"]
