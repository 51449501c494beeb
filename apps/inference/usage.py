"""What an answer cost in tokens, as the upstream counted them."""

from collections.abc import Iterable
from typing import Any, NamedTuple

CREDIBLE_TOKENS = 10**12  # above this a count is a bug upstream, and would overflow a batch's totals


class Usage(NamedTuple):
    """Token counts of one answer, or the sum of many."""

    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    total_tokens: int = 0


NO_USAGE = Usage()


def summed(usages: Iterable[Usage]) -> Usage:
    """All of them together."""
    return Usage(*map(sum, zip(NO_USAGE, *usages, strict=True)))


def usage_of(document: dict[str, Any]) -> Usage:
    """Read `document["usage"]`, as Chat Completions or as Responses write it; what is not a credible count is 0."""
    usage = document.get("usage")
    if not isinstance(usage, dict):
        return NO_USAGE
    if "prompt_tokens" in usage or "completion_tokens" in usage:
        return _read(usage, "prompt_tokens", "completion_tokens")
    return _read(usage, "input_tokens", "output_tokens")


def _read(usage: dict[str, Any], input_key: str, output_key: str) -> Usage:
    input_tokens = _count(usage, input_key)
    output_tokens = _count(usage, output_key)
    return Usage(
        input_tokens,
        _count(usage.get(f"{input_key}_details"), "cached_tokens"),
        output_tokens,
        _count(usage.get(f"{output_key}_details"), "reasoning_tokens"),
        _count(usage, "total_tokens") or input_tokens + output_tokens,
    )


def _count(counts: object, key: str) -> int:
    value = counts.get(key) if isinstance(counts, dict) else None
    # `type() is` because True is an int too.
    return value if type(value) is int and 0 <= value <= CREDIBLE_TOKENS else 0
