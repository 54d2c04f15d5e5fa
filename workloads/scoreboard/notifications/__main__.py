"""`python -m scoreboard.notifications`: the notification service process."""

from scoreboard.kit import serve
from scoreboard.kit.settings import Settings
from scoreboard.notifications.app import SERVER_OPTIONS, create_app

if __name__ == "__main__":
    serve.run(Settings.from_env("notification"), create_app, **SERVER_OPTIONS)
