"""Usage: two dialects, and nothing an upstream writes can break the sums."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.inference.usage import NO_USAGE, Usage, usage_of

CHAT = {
    "prompt_tokens": 5,
    "completion_tokens": 7,
    "total_tokens": 12,
    "prompt_tokens_details": {"cached_tokens": 2},
    "completion_tokens_details": {"reasoning_tokens": 3},
}
RESPONSES = {
    "input_tokens": 5,
    "output_tokens": 7,
    "total_tokens": 12,
    "input_tokens_details": {"cached_tokens": 2},
    "output_tokens_details": {"reasoning_tokens": 3},
}


@pytest.mark.parametrize("usage", [CHAT, RESPONSES])
def test_it_reads_both_dialects(usage: dict[str, Any]) -> None:
    assert usage_of({"usage": usage}) == Usage(5, 2, 7, 3, 12)


def test_embeddings_have_no_output() -> None:
    assert usage_of({"usage": {"prompt_tokens": 8, "total_tokens": 8}}) == Usage(input_tokens=8, total_tokens=8)


def test_a_missing_total_is_the_sum() -> None:
    assert usage_of({"usage": {"prompt_tokens": 5, "completion_tokens": 7}}).total_tokens == 12


@pytest.mark.parametrize("count", [True, -1, 1.0, "5", None, [], {}, 10**12 + 1, float("inf")])
def test_what_is_not_a_credible_count_is_zero(count: object) -> None:
    assert usage_of({"usage": {"prompt_tokens": count, "completion_tokens": 7}}) == Usage(
        output_tokens=7, total_tokens=7
    )


@pytest.mark.parametrize("usage", [None, 5, "many", [], {}])
def test_no_usage_is_zero(usage: object) -> None:
    assert usage_of({"usage": usage}) == NO_USAGE
    assert usage_of({}) == NO_USAGE


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*CHAT, *RESPONSES]), inner),
    max_leaves=10,
)


@given(JSON)
def test_any_json_gives_credible_counts(usage: object) -> None:
    for count in usage_of({"usage": usage}):
        assert type(count) is int
        assert 0 <= count <= 2 * 10**12
