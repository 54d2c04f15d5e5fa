"""The services have no engine protocol: what the API server knows of their pods is all."""

from scoreboard_operator.components.base import observe_nothing as observe

__all__ = ["observe"]
