"""Upstream: URLs and what may be shown."""

import pytest

from apps.inference.upstream import Upstream

PATH = "/v1/chat/completions"


@pytest.mark.parametrize(
    ("base_url", "url"),
    [
        ("http://gpu:8000", "http://gpu:8000/v1/chat/completions"),
        ("http://gpu:8000/", "http://gpu:8000/v1/chat/completions"),
        ("http://gpu:8000/v1", "http://gpu:8000/v1/chat/completions"),
        ("http://gpu:8000/v1/", "http://gpu:8000/v1/chat/completions"),
        (" http://gpu:8000/v1/\n", "http://gpu:8000/v1/chat/completions"),
        ("https://gate.example/llm/v1", "https://gate.example/llm/v1/chat/completions"),
        ("https://gate.example/llm//", "https://gate.example/llm/v1/chat/completions"),
        ("http://v1", "http://v1/v1/chat/completions"),
    ],
)
def test_it_joins_base_url_and_path_with_one_v1(base_url: str, url: str) -> None:
    assert Upstream("gpu", base_url).url(PATH) == url


def test_its_repr_keeps_the_api_key_to_itself() -> None:
    assert "sk-secret" not in repr(Upstream("gpu", "http://gpu", api_key="sk-secret"))


@pytest.mark.parametrize(
    ("patterns", "model", "is_served"),
    [
        (("*",), "llama-3-8b", True),
        (("*",), "", True),
        (("*",), None, True),
        (("llama-*",), "llama-3-8b", True),
        (("llama-*",), "LLAMA-3-8b", False),
        (("llama-*",), "my-llama-3", False),
        (("llama-*",), None, False),
        (("?",), None, False),
        (("gpt-4", "qwen3-?b"), "qwen3-8b", True),
        (("gpt-4", "qwen3-?b"), "qwen3-30b", False),
        (("meta/llama-[34]",), "meta/llama-3", True),
        (("meta*",), "meta/llama\n3", True),
        (("a[b",), "a[b", True),
        ((), "llama", False),
    ],
)
def test_it_serves_the_models_that_its_patterns_match(
    patterns: tuple[str, ...], model: str | None, is_served: bool
) -> None:
    assert Upstream("gpu", "http://gpu", models=patterns).serves(model) is is_served


def test_two_are_equal_unless_something_differs() -> None:
    one, same = (Upstream("gpu", "http://gpu", api_key="sk-1") for _ in range(2))
    one.url(PATH)

    assert one == same
    assert one != Upstream("gpu", "http://gpu", api_key="sk-2")
    assert one != Upstream("gpu", "http://gpu", api_key="sk-1", models=("llama-*",))
