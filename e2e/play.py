"""Play on the running Scoreboard: `uv run python -m e2e.play`.

Logs a player in through the gateway, posts a few signed scores, and shows the leaderboard and the
pushes of an open WebSocket as they come in. Everything goes the way a game's client would go.
"""

from __future__ import annotations

import json
import random
import time
from typing import Annotated

import httpx
import typer
from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from e2e.cluster import demo
from e2e.support.api import Gateway, Json, Player, problem_of
from e2e.support.board import DEMO
from e2e.support.live import Frame, Socket

ROWS = 10
LINES = 8
FRAMES_PER_SECOND = 8

console = Console()


def play(
    url: Annotated[str, typer.Option(help="Where the gateway is.")] = DEMO.url,
    player: Annotated[str, typer.Option(help="Username; the demo player when left out.")] = "",
    password: Annotated[str, typer.Option(help="Password of the player.")] = "",
    scores: Annotated[int, typer.Option(help="How many scores to post.")] = 8,
    seconds: Annotated[float, typer.Option(help="How long to go on watching afterwards.")] = 5,
) -> None:
    """Log in, post signed scores, and watch the board move."""
    gateway = Gateway(url, DEMO.trust)
    name, secret = _credentials(player, password)
    session = gateway.login(name, secret)
    console.print(f"logged in as [bold]{name}[/] at {url}; signing with the session's key")
    Round(Player(gateway, session, secret), scores, seconds).run()


class Round:
    """One round of play, drawn while it goes on."""

    def __init__(self, player: Player, scores: int, seconds: float) -> None:
        self._player = player
        self._scores = scores
        self._seconds = seconds
        self._lines: list[Text] = []
        self._shown = 0

    def run(self) -> None:
        """Post the scores with pauses, then watch on; the screen follows the WebSocket."""
        gateway = self._player.gateway
        with Socket(gateway.url, gateway.trust, self._player.session.access_token) as socket:
            socket.subscribe("leaderboard", top=ROWS)
            socket.subscribe("rank")
            with Live(
                self._screen([]), console=console, refresh_per_second=FRAMES_PER_SECOND
            ) as live:
                for _ in range(self._scores):
                    self._post(random.randint(1, 100))
                    self._watch(live, socket, random.uniform(0.3, 1.2))
                self._watch(live, socket, self._seconds)

    def _watch(self, live: Live, socket: Socket, seconds: float) -> None:
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            for frame in socket.frames[self._shown :]:
                self._note_frame(frame)
            self._shown = len(socket.frames)
            live.update(self._screen(_newest_board(socket.frames)))
            time.sleep(1 / FRAMES_PER_SECOND)

    def _post(self, change: int) -> None:
        started = time.monotonic()
        answer = self._player.post_score(change)
        took = (time.monotonic() - started) * 1000
        if answer.status_code == 201:
            data = answer.json()
            rank = data["rank"]
            self._say(
                f"POST {change:+d} -> score {data['score']}, rank {rank}  ({took:.0f} ms)", "green"
            )
            return
        problem = problem_of(answer)
        again = answer.headers.get("Retry-After")
        hint = f", again in {again} s" if again else ""
        self._say(f"POST {change:+d} -> {problem['status']} {problem['code']}{hint}", "yellow")

    def _note_frame(self, frame: Frame) -> None:
        if frame["type"] == "rank":
            place = f"score {frame.get('score')}, rank {frame.get('rank')}"
            self._say(f"push: you have {place}", "cyan")
        elif frame["type"] in ("snapshot", "update"):
            what = f"{frame['type']} at offset {frame.get('offset')}"
            self._say(f"push: board {what}", "blue")
        else:
            self._say(f"push: {json.dumps(frame)[:90]}", "magenta")

    def _say(self, text: str, style: str) -> None:
        self._lines = [*self._lines, Text(text, style=style)][-LINES:]

    def _screen(self, entries: list[Json]) -> Group:
        table = Table(title="Leaderboard, as the WebSocket pushes it", width=64)
        for heading, side in (("#", "right"), ("player", "left"), ("score", "right")):
            table.add_column(heading, justify="right" if side == "right" else "left")
        for entry in entries:
            own = entry["user_id"] == self._player.id
            name = entry.get("display_name") or entry["username"]
            cells = (str(entry["rank"]), name, f"{entry['score']:,}")
            table.add_row(*cells, style="bold green" if own else "")
        return Group(table, Panel(Group(*self._lines), title="what happens", width=64))


def _newest_board(frames: list[Frame]) -> list[Json]:
    for frame in reversed(frames):
        if frame["type"] in ("snapshot", "update") and "entries" in frame:
            found: list[Json] = frame["entries"]
            return found
    return []


def _credentials(player: str, password: str) -> tuple[str, str]:
    """What was asked for, else the demo player `make up` registered."""
    if player and password:
        return player, password
    if not demo.CREDENTIALS.is_file():
        raise typer.BadParameter(
            "there is no demo player: run `make up`, or give both --player and --password"
        )
    stored = json.loads(demo.CREDENTIALS.read_text())
    if player and player != stored["username"]:
        raise typer.BadParameter(f"give --password for {player}")
    return str(stored["username"]), password or str(stored["password"])


def main() -> None:
    """Run, and say in one line what is wrong when it cannot be done."""
    try:
        typer.run(play)
    except (AssertionError, httpx.TransportError, OSError) as error:
        console.print(f"[bold red]That did not work:[/] {error}")
        console.print("Is the Scoreboard up? `make status` tells; `make up` brings it up.")
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
