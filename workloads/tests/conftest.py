"""Settings of all unit tests of the workloads."""

from hypothesis import settings

# A busy machine is not a failure: no example has a time limit of its own.
settings.register_profile("scoreboard", deadline=None)
settings.load_profile("scoreboard")
