"""HTTP of the score service: paths, headers and status codes."""

import re
import time
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from scoreboard.kit import requests, signing
from scoreboard.kit.authn import Caller
from scoreboard.kit.problems import Problem, invalid
from scoreboard.scores import pages
from scoreboard.scores.models import parse_update
from scoreboard.scores.service import ScoreService
from scoreboard.scores.writer import limit_headers

router = APIRouter()
_KEY: Final = re.compile(r"[\x21-\x7e]{8,128}")
BOARD_CACHE: Final = "public, max-age=1, s-maxage=1, stale-while-revalidate=5, stale-if-error=300"
_JSON: Final = "application/json"


async def post_score(request: Request) -> Response:
    """Change one's own score.

    In this order: body size (middleware), token and session, the Idempotency-Key's presence,
    the signature over it and the raw body, its form, the body's schema, the nonce, the rules,
    the commit.
    """
    request.scope["route"] = post_score  # the telemetry labels matched routes only
    resources = request.app.state.resources
    service: ScoreService = resources.service
    claims = await resources.authenticator(request)
    body = await request.body()
    key = request.headers.get("idempotency-key")
    if key is None:  # before the signature, which covers it: the client learns what is missing
        raise Problem("idempotency-key-missing", "Send an Idempotency-Key with every score update.")
    signing_key = signing.session_key(resources.master_key(), claims.session_id)
    signed = signing.verify(
        signing_key, request.headers, "POST", request.scope["path"], body, now=time.time()
    )
    if not _KEY.fullmatch(key):
        raise invalid("Idempotency-Key", "8 to 128 visible ASCII characters")
    update = parse_update(body)
    await service.use_nonce(claims.session_id, signed.nonce, key)
    answer = await service.submit(claims, key, update, _address(request))
    headers = {"Cache-Control": "no-store"}
    if answer.replayed:
        headers["Idempotency-Replayed"] = "true"
    if answer.remaining is not None:
        quota = service.rules().updates_per_minute
        headers |= limit_headers(quota, answer.remaining, 60)
    return Response(answer.body, 201, headers, _JSON)


router.add_route("/api/v1/scores", post_score, methods=["POST"])


@router.get("/api/v1/leaderboard", tags=["leaderboard"])
async def get_leaderboard(
    request: Request,
    window: Annotated[Literal["all"], Query()] = "all",
    limit: Annotated[int, Query(ge=1, le=pages.MAX_LIMIT)] = pages.DEFAULT_LIMIT,
    cursor: Annotated[str | None, Query(max_length=64)] = None,
    around: Annotated[UUID | None, Query()] = None,
) -> Response:
    """Return a page of the board: its top, what follows a cursor, or the rows around a player."""
    if cursor is not None and around is not None:
        raise invalid("around", "cannot be combined with cursor")
    service: ScoreService = request.app.state.resources.service
    page, stale = await service.leaderboard(limit, cursor, around)
    headers = {
        "ETag": page.etag,
        "Cache-Control": BOARD_CACHE,
        "Surrogate-Key": f"leaderboard leaderboard-{window}",
    }
    if stale:
        headers["X-Scoreboard-Stale"] = "true"
    if pages.matches(request.headers.get("if-none-match"), page.etag):
        return Response(status_code=304, headers=headers)
    return Response(page.body, 200, headers, _JSON)


@router.get("/api/v1/users/{user_id}/score", tags=["scores"])
async def get_score(user_id: UUID, request: Request, response: Response, _: Caller) -> Any:
    """Return a player's score and rank."""
    service: ScoreService = request.app.state.resources.service
    response.headers["Cache-Control"] = "private, no-cache"
    return await service.score_of(user_id)


@router.get("/api/v1/users/{user_id}/history", tags=["scores"])
async def get_history(
    user_id: UUID,
    request: Request,
    response: Response,
    caller: Caller,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str | None, Query(max_length=64)] = None,
) -> Any:
    """Return one's own accepted updates, newest first."""
    if caller.user_id != user_id and "admin" not in caller.roles:
        raise Problem("forbidden", "Only your own history is shown to you.")
    service: ScoreService = request.app.state.resources.service
    response.headers["Cache-Control"] = "private, no-store"
    return await service.history(user_id, cursor, limit)


def _address(request: Request) -> str | None:
    peer = request.client.host if request.client else None
    hops = request.app.state.settings.trusted_hops
    return requests.client_address(request.headers.get("x-forwarded-for"), peer, hops)
