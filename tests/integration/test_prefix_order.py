"""PREFIX_ORDER: lines of a chunk with the same model and system prompt go out one after the other."""

from itertools import pairwise
from typing import Any

import msgspec
import orjson
import pytest

from apps.batches.pipeline.parts import prefix_of
from apps.upstreams.models import Upstream as Row
from tests.conftest import Person, line
from tests.fakes.upstream import FakeUpstream
from tests.integration.conftest import new_batch, new_client, results, run_batch

pytestmark = pytest.mark.django_db(transaction=True)
PROMPTS = ("You tag reviews.", "You translate.", "You count words.")


def asking(prompt: str, name: str) -> dict[str, Any]:
    messages = [{"role": "system", "content": prompt}, {"role": "user", "content": name}]
    return line(name, body={"model": "echo", "messages": messages})


def sent_prompts(upstream: FakeUpstream) -> list[str]:
    return [orjson.loads(request.body)["messages"][0]["content"] for request in upstream.requests]


@pytest.mark.parametrize("is_on", [True, False])
def test_prompts_follow_one_another_and_results_stay_in_order(
    alice: Person, upstream: FakeUpstream, settings: Any, monkeypatch: pytest.MonkeyPatch, is_on: bool
) -> None:
    settings.PREFIX_ORDER = is_on
    Row.objects.create(name="one slot", base_url=upstream.base_url, model_patterns="*", max_in_flight=1)
    new_client(monkeypatch)
    names = [f"line {number:02d}" for number in range(30)]

    batch = run_batch(new_batch(alice, [asking(PROMPTS[number % 3], name) for number, name in enumerate(names)]))

    prompts = sent_prompts(upstream)
    assert sum(before != after for before, after in pairwise(prompts)) == (2 if is_on else 29)
    assert list(results(alice, batch.output_file_id)) == names


@pytest.mark.parametrize(
    ("body", "prefix"),
    [
        (b'{"model":"m","messages":[{"role":"system","content":"a b"},{"role":"user"}]}', ("m", b'"a b"')),
        (b'{"model":"m","messages":[{"role":"developer","content":[1]}]}', ("m", b"[1]")),
        (b'{"model":"m","messages":[{"role":"user","content":"hi"}]}', ("m", b"")),
        (b'{"model":"m","input":"hi","instructions":"be brief"}', ("m", b'"be brief"')),
        (b'{"model":"m","messages":"hi"}', ("", b"")),
        (b'{"n":' + b"9" * 300 + b"}", ("None", b"")),
    ],
)
def test_a_prefix_is_model_and_system_prompt(body: bytes, prefix: tuple[str, bytes]) -> None:
    assert prefix_of(msgspec.Raw(body)) == prefix
