"""The hub: every tick it works out what changed and hands each client its newest state.

Nothing is sent per event. Between two ticks any number of changes fold into one frame per board
size, encoded once and shared by all its clients. Own ranks move without one's own doing; they are
looked at every few ticks, and at once for players whose score changed.
"""

import asyncio
import random
import secrets
from collections import defaultdict
from typing import Final
from uuid import UUID

import structlog
from prometheus_client import Counter, Gauge

from scoreboard.kit.board import Board
from scoreboard.kit.ranking import Change
from scoreboard.notifications import protocol
from scoreboard.notifications.connection import Connection
from scoreboard.notifications.models import Close, Ping, Subscribe, Unsubscribe

log = structlog.get_logger("scoreboard.hub")

TICK_SECONDS: Final = 0.075
RANK_TICKS: Final = 4
"""Ranks of players whose own score did not change are looked at every so many ticks."""
YIELD_EVERY: Final = 250
"""Clients of one tick that are served before others of the event loop have a turn."""
RECONNECT_SPREAD_MS: Final = 5_000

CONNECTIONS: Final = Gauge("scoreboard_ws_connections", "Open WebSockets.")
FRAMES: Final = Counter("scoreboard_ws_frames_total", "Frames handed to clients.", ["channel"])
ENCODED: Final = Counter("scoreboard_ws_boards_encoded_total", "Board frames encoded.")
CLOSED: Final = Counter("scoreboard_ws_closed_total", "Sockets closed by us.", ["code"])


class Hub:
    """Connections of one process and what they watch."""

    def __init__(self, board: Board) -> None:
        self.epoch = secrets.token_hex(8)
        """Offsets are comparable within one epoch only; a restart starts another."""
        self._board = board
        self._connections: set[Connection] = set()
        self._by_session: dict[UUID, set[Connection]] = defaultdict(set)
        self._by_user: dict[UUID, int] = defaultdict(int)
        self._touched: set[UUID] = set()
        self._tails: dict[int, tuple[int, str]] = {}
        self._sent: dict[int, tuple[int, str]] = {}
        """Per board size: the offset and the rows that every client of that size has."""
        self._rank_offset = 0
        self._stale = False
        board.ranking.listen(self._on_change)

    def __len__(self) -> int:
        return len(self._connections)

    @property
    def connections(self) -> list[Connection]:
        """The open connections."""
        return list(self._connections)

    def sockets_of(self, user_id: UUID) -> int:
        """Return how many sockets a user has open."""
        return self._by_user.get(user_id, 0)

    def _on_change(self, change: Change) -> None:
        self._touched.add(change.user_id)

    def add(self, connection: Connection) -> None:
        """Take a client in."""
        self._connections.add(connection)
        self._by_session[connection.session_id].add(connection)
        self._by_user[connection.user_id] += 1
        CONNECTIONS.set(len(self._connections))
        if self._stale:
            connection.put("stale", protocol.stale_frame(True))

    def remove(self, connection: Connection) -> None:
        """Let a client go that was added."""
        self._connections.remove(connection)
        self._by_user[connection.user_id] -= 1
        if not self._by_user[connection.user_id]:
            del self._by_user[connection.user_id]
        of_session = self._by_session.get(connection.session_id)
        if of_session is not None:
            of_session.discard(connection)
            if not of_session:
                del self._by_session[connection.session_id]
        CONNECTIONS.set(len(self._connections))
        if connection.closed_with is not None:
            CLOSED.labels(connection.closed_with.name.lower()).inc()

    def close_session(self, session_id: UUID) -> int:
        """Close every socket of a revoked session; returns how many."""
        found = list(self._by_session.get(session_id, ()))
        for connection in found:
            connection.close(Close.SESSION_REVOKED, "session revoked")
        return len(found)

    def receive(self, connection: Connection, text: str) -> None:
        """Act on a client's message; what is wrong with it is answered, not raised."""
        if not connection.may_speak():
            return
        try:
            message = protocol.parse(text)
        except protocol.BadMessage as error:
            connection.answer(protocol.error_frame("invalid-request", str(error)))
            return
        if isinstance(message, Ping):
            connection.answer(protocol.pong_frame(message.id))
        elif isinstance(message, Subscribe):
            self._subscribe(connection, message)
        else:
            self._unsubscribe(connection, message)

    def _subscribe(self, connection: Connection, message: Subscribe) -> None:
        ranking = self._board.ranking
        if not self._board.complete:
            connection.answer(
                protocol.error_frame("unavailable", "the board is being built", message.id)
            )
            return
        if message.channel == "leaderboard":
            connection.top = message.top
            connection.shown_at = ranking.changes
            frame = protocol.framed("snapshot", self._tail(message.top), message.id)
        elif message.channel == "rank":
            connection.rank = True
            frame = protocol.rank_frame(ranking, connection.user_id, self.epoch, ranking.changes)
            connection.last["rank"] = self._rank_state(connection.user_id)
        else:
            connection.users = tuple(dict.fromkeys(message.users))
            tail = protocol.users_tail(ranking, connection.users, self.epoch, ranking.changes)
            connection.last["users"] = self._users_state(connection)
            frame = protocol.framed("snapshot", tail, message.id)
        connection.begin(message.channel, frame)

    def _unsubscribe(self, connection: Connection, message: Unsubscribe) -> None:
        if message.channel == "leaderboard":
            connection.top = None
        elif message.channel == "rank":
            connection.rank = False
        else:
            connection.users = ()

    def _tail(self, top: int) -> str:
        """Return the shared part of the board frame of a size, encoded once per state."""
        ranking = self._board.ranking
        known = self._tails.get(top)
        if known is None or known[0] != ranking.changes:
            tail = protocol.board_tail(
                self.epoch, ranking.changes, top, len(ranking), ranking.top(top)
            )
            known = (ranking.changes, tail)
            self._tails[top] = known
            ENCODED.inc()
        return known[1]

    async def run(self) -> None:
        """Tick until cancelled."""
        turn = 0
        while True:
            await asyncio.sleep(TICK_SECONDS)
            turn += 1
            try:
                await self.tick(all_ranks=turn % RANK_TICKS == 0)
            except Exception as error:
                log.error("tick failed", exc_info=error)

    async def tick(self, *, all_ranks: bool) -> None:
        """Hand every client what changed for it since the last tick."""
        self._announce_staleness()
        if not self._board.complete:
            return
        ranking = self._board.ranking
        touched, self._touched = self._touched, set()
        look_at_all = all_ranks and ranking.changes != self._rank_offset
        if look_at_all:
            self._rank_offset = ranking.changes
        # All of one state, before others have a turn. Who subscribes during the tick may have got
        # a newer snapshot, which must not be followed by an older frame.
        offset = ranking.changes
        tops = {connection.top for connection in self._connections if connection.top is not None}
        boards = {top: self._update(top) for top in tops}
        for number, connection in enumerate(list(self._connections), 1):
            if number % YIELD_EVERY == 0:
                await asyncio.sleep(0)
            top = connection.top
            if top is not None and connection.shown_at <= offset:
                update = boards.get(top)
                if update is not None:
                    connection.put("leaderboard", update)
                    FRAMES.labels("leaderboard").inc()
            if connection.rank and (look_at_all or connection.user_id in touched):
                self._push_rank(connection)
            if connection.users and (look_at_all or not touched.isdisjoint(connection.users)):
                self._push_users(connection)

    def _update(self, top: int) -> str | None:
        """Return the update frame of a board size, or None when its rows did not change."""
        offset = self._board.ranking.changes
        sent = self._sent.get(top)
        if sent is not None and sent[0] == offset:
            return None
        tail = self._tail(top)
        rows = _rows(tail)
        self._sent[top] = (offset, rows)
        if sent is not None and sent[1] == rows:
            return None  # something changed below the rows that are watched
        return protocol.framed("update", tail)

    def _rank_state(self, user_id: UUID) -> str:
        entry = self._board.ranking.entry(user_id)
        version = entry.version if entry is not None else 0
        return f"{self._board.ranking.rank(user_id)}/{version}"

    def _push_rank(self, connection: Connection) -> None:
        state = self._rank_state(connection.user_id)
        if connection.last.get("rank") == state:
            return
        connection.last["rank"] = state
        ranking = self._board.ranking
        frame = protocol.rank_frame(ranking, connection.user_id, self.epoch, ranking.changes)
        connection.put("rank", frame)
        FRAMES.labels("rank").inc()

    def _users_state(self, connection: Connection) -> str:
        return ",".join(self._rank_state(user_id) for user_id in connection.users)

    def _push_users(self, connection: Connection) -> None:
        state = self._users_state(connection)
        if connection.last.get("users") == state:
            return
        connection.last["users"] = state
        ranking = self._board.ranking
        tail = protocol.users_tail(ranking, connection.users, self.epoch, ranking.changes)
        connection.put("users", protocol.framed("update", tail))
        FRAMES.labels("users").inc()

    def _announce_staleness(self) -> None:
        stale = self._board.complete and not self._board.live
        if stale != self._stale:
            self._stale = stale
            frame = protocol.stale_frame(stale)
            for connection in self._connections:
                connection.put("stale", frame)

    async def drain(self, seconds: float) -> None:
        """Ask every client to connect elsewhere and close it, spread over some seconds."""
        connections = list(self._connections)
        random.shuffle(connections)
        log.info("sending clients elsewhere", clients=len(connections), seconds=seconds)
        started = asyncio.get_running_loop().time()
        for index, connection in enumerate(connections):
            # The hint is jittered too, so that they do not arrive at the next pod all at once.
            after_ms = random.randint(0, RECONNECT_SPREAD_MS)  # noqa: S311
            connection.answer(protocol.reconnect_frame(after_ms))
            connection.close(Close.GOING_AWAY, "reconnect")
            due = started + seconds * (index + 1) / len(connections)
            pause = due - asyncio.get_running_loop().time()
            if pause > 0.01:
                await asyncio.sleep(pause)


def _rows(tail: str) -> str:
    """Return a board frame without its offset, to compare what is shown."""
    return tail[tail.index('"total":') :]
