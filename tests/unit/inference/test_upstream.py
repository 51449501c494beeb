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
