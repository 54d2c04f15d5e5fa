"""The gateway is observed through its pods' readiness, which is Envoy's own."""

from scoreboard_operator.components.base import observe_nothing as observe

__all__ = ["observe"]
