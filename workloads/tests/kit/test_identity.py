import uuid

from hypothesis import given
from hypothesis import strategies as st

from scoreboard.kit.identity import BUCKETS, bucket_of, bucket_of_claim


def test_buckets_are_stable_for_all_time() -> None:
    # Changing these numbers would lose every user: they are what PostgreSQL's bucket_of says.
    assert bucket_of(uuid.UUID(int=0)) == 789
    assert bucket_of(uuid.UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8")) == 131
    assert bucket_of_claim("username", "alice") == 679


@given(st.uuids())
def test_a_bucket_is_the_same_however_the_id_was_written(user_id: uuid.UUID) -> None:
    bucket = bucket_of(user_id)
    assert 0 <= bucket < BUCKETS
    assert bucket_of(uuid.UUID(str(user_id).upper())) == bucket


@given(st.text(max_size=50))
def test_claims_ignore_case_and_tell_kinds_apart(value: str) -> None:
    assert bucket_of_claim("username", value) == bucket_of_claim("username", value.lower())


def test_users_spread_over_the_shards() -> None:
    counts = [0] * 4
    for number in range(4000):
        counts[bucket_of(uuid.UUID(int=number)) % 4] += 1
    assert min(counts) > 900
