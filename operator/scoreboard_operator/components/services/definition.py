"""What tells the three services apart."""

from __future__ import annotations

from dataclasses import dataclass

HTTPS_PORT = 8443
METRICS_PORT = 9100


@dataclass(frozen=True)
class Definition:
    """One service.

    ``module``   Python module its process runs
    ``secrets``  volume name -> suffix of the Secret below NAME-, beyond TLS and credentials
    ``rules``    whether it is given the business rules (and owns their ConfigMap)
    """

    name: str
    condition: str
    module: str
    secrets: tuple[tuple[str, str], ...]
    rules: bool = False


SCORE = Definition(
    name="score",
    condition="ScoreServiceReady",
    module="scoreboard.scores",
    secrets=(("jwt", "jwt-public"), ("request-signing", "request-signing")),
    rules=True,
)
USER = Definition(
    name="user",
    condition="UserServiceReady",
    module="scoreboard.users",
    # The only pods that can sign tokens.
    secrets=(("jwt", "jwt-signing"), ("request-signing", "request-signing")),
)
NOTIFICATION = Definition(
    name="notification",
    condition="NotificationServiceReady",
    module="scoreboard.notifications",
    secrets=(("jwt", "jwt-public"),),
)

DEFINITIONS = (SCORE, USER, NOTIFICATION)
