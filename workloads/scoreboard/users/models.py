"""What goes in and out of the user service's API. Unknown fields are refused."""

import re
import unicodedata
from datetime import datetime
from typing import Annotated, Final, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

PASSWORD_MIN: Final = 8
PASSWORD_MAX: Final = 128
"""argon2 reads the whole password; the limit keeps a request from buying CPU with length."""

_USERNAME: Final = r"^[A-Za-z0-9](?:[A-Za-z0-9._-]{1,48})[A-Za-z0-9]$"
_EMAIL: Final = re.compile(
    r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}"
    r"@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z]{2,63}"
)


def _email(text: str) -> str:
    if not _EMAIL.fullmatch(text):
        raise ValueError("not an e-mail address")
    return text


def _shown_text(text: str) -> str:
    """Return text fit to be shown: NFC, trimmed, without control or direction characters."""
    text = unicodedata.normalize("NFC", text).strip()
    if not text:
        raise ValueError("must not be blank")
    if len(text) > 50:
        raise ValueError("at most 50 characters")
    if any(unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp") for c in text):
        raise ValueError("contains characters that cannot be shown")
    return text


Username = Annotated[str, StringConstraints(min_length=3, max_length=50, pattern=_USERNAME)]
Email = Annotated[str, StringConstraints(max_length=100), AfterValidator(_email)]
Password = Annotated[str, StringConstraints(min_length=PASSWORD_MIN, max_length=PASSWORD_MAX)]
DisplayName = Annotated[
    str, StringConstraints(min_length=1, max_length=200), AfterValidator(_shown_text)
]
Country = Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")]
"""ISO 3166-1 alpha-2; the form is checked, not that the country exists."""
Fingerprint = Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]{1,64}$")]


class _Input(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class RegisterRequest(_Input):
    """Body of POST /auth/register."""

    username: Username
    email: Email
    password: Password = Field(repr=False)
    display_name: DisplayName | None = None
    """Defaults to the username."""
    country: Country | None = None


class LoginRequest(_Input):
    """Body of POST /auth/login. `username` may also be the e-mail address."""

    username: Annotated[str, StringConstraints(pattern=r"^[^\x00-\x20\x7f]{1,100}$")]
    password: Annotated[str, StringConstraints(min_length=1, max_length=PASSWORD_MAX)] = Field(
        repr=False
    )
    fingerprint: Fingerprint | None = None
    """A device's own mark; a signal for review, never a lock."""


class RefreshRequest(_Input):
    """Body of POST /auth/refresh; browsers leave it out and send their cookie."""

    refresh_token: Annotated[str, StringConstraints(min_length=1, max_length=200)] = Field(
        repr=False
    )


class ProfileUpdate(_Input):
    """Body of PUT /users/{id}: the whole editable part; a missing country clears it."""

    display_name: DisplayName
    country: Country | None = None


class UserSummary(BaseModel):
    """The user inside a login answer."""

    id: UUID
    username: str
    display_name: str


class PublicProfile(UserSummary):
    """What any signed-in user may see of another."""

    country: str | None
    created_at: datetime


class OwnProfile(PublicProfile):
    """What a user sees of themselves."""

    email: str
    roles: list[str]
    status: str
    version: int
    updated_at: datetime


class TokenResponse(BaseModel):
    """Answer of login and refresh. Browsers in cookie mode get `csrf_token` and no tokens."""

    access_token: str | None = None
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105
    expires_in: int
    refresh_token: str | None = None
    session_id: UUID
    signing_key: str
    csrf_token: str | None = None
    user: UserSummary


class SessionInfo(BaseModel):
    """One live session of the caller."""

    id: UUID
    current: bool
    created_at: datetime
    last_seen_at: datetime
    expires_at: datetime
    user_agent: str | None
    ip_address: str | None
    fingerprint: str | None


class SessionList(BaseModel):
    """Answer of GET /auth/sessions, newest first."""

    sessions: list[SessionInfo]


class RevokedCount(BaseModel):
    """Answer of DELETE /auth/sessions."""

    revoked: int
