"""`python -m scoreboard.users`: the user service process."""

from scoreboard.kit import serve
from scoreboard.kit.settings import Settings
from scoreboard.users.app import create_app

if __name__ == "__main__":
    serve.run(Settings.from_env("user"), create_app)
