"""What the notification service reads of the database besides the board's snapshot."""

from scoreboard.kit.sessions import row_check

__all__ = ["row_check"]
