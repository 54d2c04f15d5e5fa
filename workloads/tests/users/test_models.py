import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from scoreboard.users.models import LoginRequest, ProfileUpdate, RegisterRequest

GOOD = {"username": "alice", "email": "alice@example.com", "password": "long enough"}


@pytest.mark.parametrize(
    "change",
    [
        {"username": "al"},
        {"username": "a" * 51},
        {"username": "al ice"},
        {"username": "_alice"},
        {"username": "alice@home"},
        {"username": "alice\n"},
        {"username": "álice"},
        {"email": "alice"},
        {"email": "alice@localhost"},
        {"email": "a@b@example.com"},
        {"email": "alice@example.com\n"},
        {"email": "a" * 64 + "@" + "b" * 30 + ".example.com"},
        {"password": "short"},
        {"password": "x" * 129},
        {"display_name": "   "},
        {"display_name": "x" * 51},
        {"display_name": "a\u202eb"},
        {"display_name": "a\x00b"},
        {"country": "de"},
        {"country": "DEU"},
        {"roles": ["admin"]},
        {"id": "1"},
    ],
)
def test_bad_registrations_name_the_field(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError) as caught:
        RegisterRequest.model_validate(GOOD | change)
    assert [error["loc"][0] for error in caught.value.errors()] == list(change)


def test_a_password_is_not_shown() -> None:
    assert "long enough" not in repr(RegisterRequest.model_validate(GOOD))
    with pytest.raises(ValidationError) as caught:
        RegisterRequest.model_validate(GOOD | {"password": "hunter2"})
    assert "hunter2" not in str(caught.value)


@given(st.text(max_size=120))
def test_accepted_names_can_be_stored_and_shown(text: str) -> None:
    try:
        name = ProfileUpdate(display_name=text).display_name
    except ValidationError:
        return
    assert 1 <= len(name) <= 50
    assert name == name.strip()
    assert "\x00" not in name
    name.encode()


@given(st.text(max_size=120))
def test_a_login_name_is_fit_for_a_query(text: str) -> None:
    try:
        name = LoginRequest(username=text, password="x").username
    except ValidationError:
        return
    assert name == text
    assert "\x00" not in name
    name.encode()
