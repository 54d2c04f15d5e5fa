"""`python -m scoreboard.scores`: the score service process."""

from scoreboard.kit import serve
from scoreboard.kit.settings import Settings
from scoreboard.scores.app import create_app

if __name__ == "__main__":
    serve.run(Settings.from_env("score"), create_app)
