import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoreboard.kit.problems import Problem
from scoreboard.users import refresh
from scoreboard.users.refresh import SessionState, Verdict

MASTER = bytes(32)
USER, SESSION = uuid.UUID(int=1), uuid.UUID(int=2)


def mint() -> refresh.RefreshToken:
    return refresh.mint(MASTER, USER, SESSION)


def test_a_token_survives_the_journey() -> None:
    token = mint()
    assert refresh.parse(token.text) == token
    assert refresh.is_authentic(MASTER, token)
    assert len(token.text) < 200
    assert token.secret not in repr(token)


@given(st.integers(0, 42), st.sampled_from("ABab09-_"))
def test_a_guess_is_not_authentic(position: int, letter: str) -> None:
    token = mint()
    secret = token.secret[:position] + letter + token.secret[position + 1 :]
    guess = refresh.RefreshToken(USER, SESSION, secret)
    assert refresh.is_authentic(MASTER, guess) == (secret == token.secret)


def test_authenticity_is_bound_to_user_session_and_key() -> None:
    secret = mint().secret
    assert not refresh.is_authentic(MASTER, refresh.RefreshToken(uuid.uuid4(), SESSION, secret))
    assert not refresh.is_authentic(MASTER, refresh.RefreshToken(USER, uuid.uuid4(), secret))
    assert not refresh.is_authentic(b"\1" * 32, refresh.RefreshToken(USER, SESSION, secret))


@given(st.text(max_size=150) | st.from_regex(r"r1\.[0-9a-fA-F]{30,34}\.[0-9a-f]{32}\..{40,45}"))
def test_parse_takes_its_own_form_and_nothing_else(text: str) -> None:
    try:
        token = refresh.parse(text)
    except Problem as problem:
        assert problem.code == "token-invalid"  # noqa: PT017  both outcomes are right
    else:
        assert token.text == text


def test_only_the_holder_of_the_old_token_reads_the_successor() -> None:
    old, successor = mint(), mint()
    sealed = refresh.seal(old, successor)
    assert refresh.unseal(old, sealed) == successor
    assert successor.secret.encode() not in sealed
    for wrong in (mint(), successor):
        with pytest.raises(ValueError, match="sealed"):
            refresh.unseal(wrong, sealed)


def state(
    current: bytes, previous: bytes | None, *, in_grace: bool = False, **changes: bool
) -> SessionState:
    return SessionState(
        current,
        previous,
        revoked=changes.get("revoked", False),
        expired=changes.get("expired", False),
        user_active=changes.get("user_active", True),
        in_grace=in_grace,
    )


@pytest.mark.parametrize(
    ("presented", "authentic", "in_grace", "verdict"),
    [
        (b"now", True, False, Verdict.ROTATE),
        (b"now", True, True, Verdict.ROTATE),
        (b"before", True, True, Verdict.SAME_SUCCESSOR),
        (b"before", True, False, Verdict.REUSE),
        (b"long ago", True, False, Verdict.REUSE),
        (b"long ago", True, True, Verdict.INVALID),
        (b"guess", False, False, Verdict.INVALID),
        # After the master key changed MACs do not verify; the hashes still do.
        (b"now", False, False, Verdict.ROTATE),
        (b"before", False, True, Verdict.SAME_SUCCESSOR),
    ],
)
def test_verdicts_on_a_live_session(
    presented: bytes, authentic: bool, in_grace: bool, verdict: Verdict
) -> None:
    found = state(b"now", b"before", in_grace=in_grace)
    assert refresh.judge(found, presented, authentic=authentic) is verdict


@given(st.sampled_from([b"now", b"before", b"other"]), st.booleans(), st.booleans(), st.booleans())
def test_a_dead_session_hands_out_nothing(
    presented: bytes, authentic: bool, in_grace: bool, first: bool
) -> None:
    flags = [{"revoked": True}, {"expired": True}, {"user_active": False}]
    for flag in flags:
        found = state(b"now", None if first else b"before", in_grace=in_grace, **flag)
        verdict = refresh.judge(found, presented, authentic=authentic)
        assert verdict in (Verdict.REVOKED, Verdict.EXPIRED, Verdict.INVALID)


def test_an_unknown_session_is_invalid() -> None:
    assert refresh.judge(None, b"now", authentic=True) is Verdict.INVALID
