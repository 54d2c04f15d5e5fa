"""The score, user and notification services."""
