"""HTTP of the user service: paths, headers, cookies and status codes."""

import re
from typing import Any, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Response
from starlette.requests import Request

from scoreboard.kit import authn, requests, signing
from scoreboard.kit.authn import Caller
from scoreboard.kit.problems import Problem, invalid
from scoreboard.kit.tokens import LIFETIME_SECONDS
from scoreboard.users import cookies, refresh
from scoreboard.users.models import (
    LoginRequest,
    OwnProfile,
    ProfileUpdate,
    PublicProfile,
    RefreshRequest,
    RegisterRequest,
    RevokedCount,
    SessionInfo,
    SessionList,
    TokenResponse,
    UserSummary,
)
from scoreboard.users.repository import Device, User
from scoreboard.users.service import SignedIn, UserService

router = APIRouter()
_ENTITY_TAG: Final = re.compile(r'"v([0-9]{1,9})"')
_JWKS_SECONDS: Final = 300


async def _service(request: Request) -> UserService:
    service: UserService = request.app.state.resources.service
    return service


Service: Final = Depends(_service)


@router.get("/.well-known/jwks.json", tags=["auth"])
async def get_jwks(request: Request) -> Response:
    """Return the public keys that verify access tokens (RFC 7517)."""
    body: bytes = request.app.state.resources.keys.get().public_jwks
    headers = {"Cache-Control": f"public, max-age={_JWKS_SECONDS}"}
    return Response(body, headers=headers, media_type="application/jwk-set+json")


@router.post("/api/v1/auth/register", status_code=201, tags=["auth"])
async def register(
    body: RegisterRequest, request: Request, response: Response, service: UserService = Service
) -> OwnProfile:
    """Create a player."""
    user = await service.register(body, _address(request))
    response.headers["Location"] = f"/api/v1/users/{user.id}"
    response.headers["Cache-Control"] = "no-store"
    return _own(user)


@router.post("/api/v1/auth/login", tags=["auth"], response_model_exclude_none=True)
async def login(
    body: LoginRequest, request: Request, response: Response, service: UserService = Service
) -> TokenResponse:
    """Open a session."""
    device = Device(requests.user_agent(request.headers), _address(request), body.fingerprint)
    signed_in = await service.login(body, device)
    return _token_response(response, signed_in, as_cookies=cookies.wanted(request))


@router.post("/api/v1/auth/refresh", tags=["auth"], response_model_exclude_none=True)
async def refresh_tokens(
    request: Request,
    response: Response,
    body: RefreshRequest | None = None,
    service: UserService = Service,
) -> TokenResponse:
    """Exchange the refresh token, from the body or the cookie, for its successor."""
    if body is not None:
        token = refresh.parse(body.refresh_token)
    else:
        cookie = request.cookies.get(cookies.REFRESH_COOKIE)
        if not cookie:
            raise invalid("refresh_token", "required")
        token = refresh.parse(cookie)
        master: bytes = request.app.state.resources.master_key()
        expected = signing.csrf_token(master, token.session_id)
        authn.require_csrf(request.headers.get(authn.CSRF_HEADER, ""), expected)
    signed_in = await service.refresh(token)
    return _token_response(response, signed_in, as_cookies=body is None)


@router.post("/api/v1/auth/logout", status_code=204, tags=["auth"])
async def logout(caller: Caller, response: Response, service: UserService = Service) -> None:
    """End the caller's session."""
    await service.revoke(caller.user_id, caller.session_id, "logout")
    cookies.clear(response)


@router.get("/api/v1/auth/sessions", tags=["auth"])
async def list_sessions(
    caller: Caller, response: Response, service: UserService = Service
) -> SessionList:
    """List the caller's live sessions."""
    response.headers["Cache-Control"] = "no-store"
    found = await service.sessions(caller.user_id)
    return SessionList(
        sessions=[SessionInfo(current=s.id == caller.session_id, **vars(s)) for s in found]
    )


@router.delete("/api/v1/auth/sessions", tags=["auth"])
async def revoke_other_sessions(caller: Caller, service: UserService = Service) -> RevokedCount:
    """End every session of the caller but the current one."""
    return RevokedCount(revoked=await service.revoke_others(caller.user_id, caller.session_id))


@router.delete("/api/v1/auth/sessions/{session_id}", status_code=204, tags=["auth"])
async def revoke_session(caller: Caller, session_id: UUID, service: UserService = Service) -> None:
    """End one of the caller's sessions."""
    await service.revoke(caller.user_id, session_id, "revoked-by-user")


@router.get("/api/v1/users/{user_id}", tags=["users"], response_model=None)
async def get_user(
    caller: Caller, user_id: UUID, request: Request, service: UserService = Service
) -> Response:
    """Return a profile: in full to its owner, with an ETag; the public part to others."""
    own = caller.user_id == user_id
    user = await service.profile(user_id, fresh=own)
    headers = {"Cache-Control": "private, no-cache", "Vary": "Authorization, Cookie"}
    if not own:
        return _json(_public(user), headers)
    headers["ETag"] = entity_tag(user.version)
    if headers["ETag"] in _listed(request.headers.get("if-none-match", "")):
        return Response(status_code=304, headers=headers)
    return _json(_own(user), headers)


@router.put("/api/v1/users/{user_id}", tags=["users"])
async def put_user(
    caller: Caller,
    user_id: UUID,
    body: ProfileUpdate,
    request: Request,
    response: Response,
    service: UserService = Service,
) -> OwnProfile:
    """Replace the editable part of the caller's own profile."""
    if caller.user_id != user_id:
        raise Problem("forbidden", "Only the owner may change a profile.")
    version = expected_version(request.headers.get("if-match"))
    user = await service.update_profile(user_id, body, version)
    response.headers["ETag"] = entity_tag(user.version)
    return _own(user)


def entity_tag(version: int) -> str:
    """Return the strong ETag of a profile's version."""
    return f'"v{version}"'


def expected_version(if_match: str | None) -> int | None:
    """Return the version an If-Match header asks for; None for `*`, which means any.

    Raises Problem precondition-required without the header, and precondition-failed when it
    names nothing this resource could have (weak tags never match, RFC 9110 section 13.1.1).
    """
    if if_match is None:
        raise Problem("precondition-required", "Send If-Match with the ETag of the profile.")
    if if_match.strip() == "*":
        return None
    match = _ENTITY_TAG.fullmatch(if_match.strip())
    if match is None:
        raise Problem("precondition-failed", "If-Match is not an ETag of this profile.")
    return int(match[1])


def _listed(header: str) -> set[str]:
    return {tag.strip().removeprefix("W/") for tag in header.split(",")}


def _address(request: Request) -> str | None:
    peer = request.client.host if request.client is not None else None
    hops: int = request.app.state.settings.trusted_hops
    return requests.client_address(request.headers.get("x-forwarded-for"), peer, hops)


def _token_response(response: Response, signed_in: SignedIn, *, as_cookies: bool) -> TokenResponse:
    response.headers["Cache-Control"] = "no-store"
    user = signed_in.user
    answer = TokenResponse(
        expires_in=LIFETIME_SECONDS,
        session_id=signed_in.session_id,
        signing_key=signed_in.signing_key,
        user=UserSummary(id=user.id, username=user.username, display_name=user.display_name),
    )
    if as_cookies:
        cookies.store(response, signed_in)
        answer.csrf_token = signed_in.csrf_token
    else:
        answer.access_token = signed_in.access_token
        answer.refresh_token = signed_in.refresh_token
    return answer


def _public(user: User) -> PublicProfile:
    return PublicProfile.model_validate(user, from_attributes=True)


def _own(user: User) -> OwnProfile:
    return OwnProfile.model_validate(user, from_attributes=True)


def _json(model: PublicProfile, headers: dict[str, Any]) -> Response:
    return Response(model.model_dump_json(), headers=headers, media_type="application/json")
