"""What the user service does, free of HTTP: register, log in, refresh, revoke, profile."""

import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import asyncpg
import structlog

from scoreboard.kit import signing, tokens
from scoreboard.kit.identity import ClaimKind, claim_value
from scoreboard.kit.problems import PEER_ERRORS, Problem
from scoreboard.kit.requests import throttle_network
from scoreboard.kit.sessions import SessionGate
from scoreboard.users import refresh, throttle
from scoreboard.users.claims import Claims, taken
from scoreboard.users.models import LoginRequest, ProfileUpdate, RegisterRequest
from scoreboard.users.passwords import Passwords
from scoreboard.users.refresh import RefreshToken, Verdict
from scoreboard.users.repository import (
    Device,
    Fenced,
    NewUser,
    Repository,
    Session,
    User,
    violated_kind,
)
from scoreboard.users.throttle import Throttle

DEFAULT_SESSION_LIMIT: Final = 10
_DECOY_NAMESPACE: Final = UUID("5b0f0a3e-7d1c-4f43-9a52-6f6f0c4d2b11")

log = structlog.get_logger("scoreboard.users")


@dataclass(frozen=True, repr=False)
class SignedIn:
    """What a client gets at login and refresh. No repr: it holds tokens."""

    user: User
    session_id: UUID
    access_token: str
    refresh_token: str
    signing_key: str
    csrf_token: str


class UserService:
    """The user service's operations. Besides the named problems, all may raise PEER_ERRORS."""

    def __init__(
        self,
        *,
        repository: Repository,
        claims: Claims,
        passwords: Passwords,
        throttles: Throttle,
        gate: SessionGate,
        keys: tokens.KeySource,
        master_key: Callable[[], bytes],
        session_limit: int = DEFAULT_SESSION_LIMIT,
        committed: Callable[[UUID], None] = lambda _: None,
    ) -> None:
        """`committed` is told the user whose shard just got an event into its outbox."""
        self._repository = repository
        self._claims = claims
        self._passwords = passwords
        self._throttles = throttles
        self._gate = gate
        self._keys = keys
        self._master_key = master_key
        self._session_limit = session_limit
        self._committed = committed
        self._unspread: dict[UUID, UUID] = {}

    async def register(self, request: RegisterRequest, address: str | None) -> User:
        """Create a user.

        Raises Problem username-taken, email-taken, too-many-attempts, or unavailable when the
        names are in the hands of a registration that has not finished.
        """
        await self._throttles.hit(throttle.REGISTER, throttle_network(address))
        names: list[tuple[ClaimKind, str]] = [
            ("username", request.username),
            ("email", request.email),
        ]
        for kind, value in names:  # before the expensive hash; decided by `reserve` all the same
            claim = await self._claims.find(kind, value)
            if claim is not None and claim.confirmed:
                raise taken(kind)
        new = NewUser(
            id=uuid.uuid4(),
            username=request.username,
            email=request.email,
            display_name=request.display_name or request.username,
            country=request.country,
            password_hash=await self._passwords.hash(request.password),
        )
        await self._reserve(new.id, names)
        try:
            await self._repository.add_user(new)
        except Exception as error:
            if not await self._give_up(new.id, names):
                raise _registration_problem(error) from error
            # The commit went through after all, only its answer was lost.
        self._committed(new.id)
        await self._confirm(new.id, names)
        user = await self._repository.user(new.id)
        if user is None:
            raise Problem("unavailable", retry_after=1)
        log.info("user registered", user_id=str(user.id))
        return user

    async def login(self, request: LoginRequest, device: Device) -> SignedIn:
        """Open a session.

        Raises Problem invalid-credentials (unknown user and wrong password alike),
        too-many-attempts, forbidden for an account that is not active, or unavailable.
        """
        name = claim_value(request.username)
        network = throttle_network(device.address)
        await self._throttles.check(throttle.NETWORK, network)
        await self._throttles.hit(throttle.ACCOUNT, name)
        user = await self._find_for_login(name)
        stored = user.password_hash if user is not None else None
        if not await self._passwords.verify(stored, request.password) or user is None:
            await self._throttles.note(throttle.NETWORK, network)
            raise Problem("invalid-credentials", "The username or the password is wrong.")
        if user.status != "active":
            raise Problem("forbidden", "This account is not active.")
        await self._throttles.clear(throttle.ACCOUNT, name)
        if self._passwords.needs_rehash(user.password_hash):
            newer = await self._passwords.hash(request.password)
            await self._repository.set_password_hash(user.id, user.password_hash, newer)
        token = refresh.mint(self._master_key(), user.id, uuid.uuid4())
        revoked = await self._repository.open_session(token, device, self._session_limit)
        self._committed(user.id)
        await self._gate.mark_active(user.id, token.session_id)
        await self._spread(user.id, revoked)
        log.info("session created", user_id=str(user.id), session_id=str(token.session_id))
        return self._signed_in(user, token)

    async def refresh(self, token: RefreshToken) -> SignedIn:
        """Exchange a refresh token for its successor.

        Until that is used, for LOST_ANSWER_SECONDS, the same token yields the same successor.
        Raises Problem token-invalid, token-expired or session-revoked; later reuse revokes.
        """
        master = self._master_key()
        authentic = refresh.is_authentic(master, token)
        for _ in range(2):
            successor = refresh.mint(master, token.user_id, token.session_id)
            user = await self._repository.rotate(token, successor, refresh.seal(token, successor))
            if user is not None:
                return self._signed_in(user, successor)
            found = await self._repository.session_state(token)
            state, sealed, owner = found if found is not None else (None, None, None)
            verdict = refresh.judge(state, token.digest, authentic=authentic)
            if verdict is Verdict.SAME_SUCCESSOR and sealed is not None and owner is not None:
                return self._signed_in(owner, refresh.unseal(token, sealed))
            if verdict is not Verdict.ROTATE:
                break
            # It is current after all: the row changed between the two statements. Once more.
        if verdict is Verdict.REUSE:
            log.warning("refresh token reused", session_id=str(token.session_id))
            await self.revoke(token.user_id, token.session_id, "refresh-reuse")
        raise _REFUSALS.get(verdict, _unavailable)()

    async def revoke(self, user_id: UUID, session_id: UUID, reason: str) -> None:
        """End a session of a user everywhere. Raises Problem not-found for somebody else's."""
        if not await self._repository.revoke_session(user_id, session_id, reason):
            raise Problem("not-found", "You have no such session.")
        self._committed(user_id)
        await self._spread(user_id, [session_id])

    async def revoke_others(self, user_id: UUID, keep: UUID) -> int:
        """End every session of a user but one; return how many ended."""
        revoked = await self._repository.revoke_others(user_id, keep, "revoked-by-user")
        self._committed(user_id)
        await self._spread(user_id, revoked)
        return len(revoked)

    async def sessions(self, user_id: UUID) -> list[Session]:
        """Return a user's live sessions, newest first."""
        return await self._repository.sessions(user_id)

    async def profile(self, user_id: UUID, *, fresh: bool) -> User:
        """Return a user; `fresh` reads the primary. Raises Problem not-found."""
        read = self._repository.user if fresh else self._repository.user_from_replica
        user = await read(user_id)
        if user is None or user.status == "deleted":
            raise Problem("not-found", "There is no such user.")
        return user

    async def update_profile(
        self, user_id: UUID, update: ProfileUpdate, version: int | None
    ) -> User:
        """Replace the editable part of a profile; `version` None means whatever it is now.

        Raises Problem precondition-failed when the version is another, or not-found.
        """
        user = await self._repository.update_profile(
            user_id, version, update.display_name, update.country
        )
        if user is None:
            await self.profile(user_id, fresh=True)
            raise Problem("precondition-failed", "Read the profile again and retry.")
        self._committed(user_id)
        return user

    async def spread_again(self) -> None:
        """Tell Redis of revocations it could not be told of before; call it every second."""
        for session_id, user_id in list(self._unspread.items()):
            if not await self._gate.mark_revoked(user_id, session_id):
                return
            self._unspread.pop(session_id, None)

    async def _find_for_login(self, name: str) -> User | None:
        kind: ClaimKind = "email" if "@" in name else "username"
        claim = await self._claims.find(kind, name)
        # Without a claim a user that cannot exist is looked up, so that both take as long.
        user_id = claim.user_id if claim is not None else uuid.uuid5(_DECOY_NAMESPACE, name)
        user = await self._repository.user(user_id)
        if user is None or claim is None:
            return None
        if claim_value(user.email if kind == "email" else user.username) != name:
            return None
        if not claim.confirmed:
            await self._confirm(user.id, [(kind, name)])
        return user

    async def _confirm(self, user_id: UUID, names: Iterable[tuple[ClaimKind, str]]) -> None:
        try:
            for kind, value in names:
                await self._claims.confirm(kind, value, user_id)
        except PEER_ERRORS as error:
            # The user exists; the sweeper or the next login confirms.
            log.warning("claim not confirmed yet", error=type(error).__name__)

    async def _reserve(self, user_id: UUID, names: Sequence[tuple[ClaimKind, str]]) -> None:
        for position, (kind, value) in enumerate(names):
            try:
                await self._claims.reserve(kind, value, user_id)
            except Exception:
                # The user was never to be inserted yet, so its claims need no fence to go. The
                # failed one goes too: its answer may have got lost on the way.
                await self._release(user_id, names[: position + 1])
                raise

    async def _give_up(self, user_id: UUID, names: Iterable[tuple[ClaimKind, str]]) -> bool:
        """Undo a registration that failed; True when it turns out to have succeeded.

        When the shards are away too, the sweeper does it later.
        """
        try:
            if not await self._claims.fence(user_id):
                return True
        except PEER_ERRORS as error:
            log.warning("registration not undone yet", error=type(error).__name__)
        else:
            await self._release(user_id, names)
        return False

    async def _release(self, user_id: UUID, names: Iterable[tuple[ClaimKind, str]]) -> None:
        for kind, value in names:
            try:
                await self._claims.release(kind, value, user_id)
            except PEER_ERRORS as error:
                log.warning("claim not released yet", kind=kind, error=type(error).__name__)

    async def _spread(self, user_id: UUID, revoked: Iterable[UUID]) -> None:
        for session_id in revoked:
            if not await self._gate.mark_revoked(user_id, session_id):
                self._unspread[session_id] = user_id

    def _signed_in(self, user: User, token: RefreshToken) -> SignedIn:
        master = self._master_key()
        return SignedIn(
            user=user,
            session_id=token.session_id,
            access_token=tokens.issue(
                self._keys.get(), user.id, token.session_id, user.username, user.roles
            ),
            refresh_token=token.text,
            signing_key=signing.encode(signing.session_key(master, token.session_id)),
            csrf_token=signing.csrf_token(master, token.session_id),
        )


def _registration_problem(error: BaseException) -> BaseException:
    if isinstance(error, Fenced):
        return Problem("unavailable", "The registration took too long.", retry_after=1)
    if isinstance(error, asyncpg.UniqueViolationError):
        # A name that a shard holds without a claim, left by an import or a restore.
        return taken(violated_kind(error))
    return error


def _unavailable() -> Problem:
    return Problem("unavailable", retry_after=1)


_REFUSALS: Final[dict[Verdict, Callable[[], Problem]]] = {
    Verdict.INVALID: lambda: Problem("token-invalid", "The refresh token is not valid."),
    Verdict.EXPIRED: lambda: Problem("token-expired", "The session has ended. Log in again."),
    Verdict.REVOKED: lambda: Problem("session-revoked"),
    Verdict.REUSE: lambda: Problem("session-revoked", "The refresh token was used before."),
}
