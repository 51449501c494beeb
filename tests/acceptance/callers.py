"""Clients that ask the API for everything it can do while something that it stands on is away."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import requests

from tests.acceptance.drill import Drill
from tests.conftest import error_of
from tests.stack import Stack

PATIENCE = 10.0
"""No answer may take longer, in seconds."""


class Call(NamedTuple):
    """A request of a client's, `path` below /v1."""

    method: str
    path: str
    body: dict[str, Any] = {}


class Reply(NamedTuple):
    """What became of a call, and after how many seconds."""

    call: Call
    response: requests.Response
    seconds: float


def every_call(drill: Drill) -> list[Call]:
    """One of each kind. Those that would change something name what does not exist: none of them may come too late."""
    batch = {"input_file_id": "file-nowhere", "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    return [
        upload(),
        Call("GET", "/files"),
        Call("GET", f"/files/{drill.batch.input_file_id}"),
        Call("GET", f"/files/{drill.batch.input_file_id}/content"),
        Call("DELETE", "/files/file-nowhere"),
        Call("POST", "/batches", {"json": batch}),
        Call("GET", "/batches"),
        Call("GET", f"/batches/{drill.batch.id}"),
        Call("POST", "/batches/batch_nowhere/cancel"),
    ]


def upload() -> Call:
    """A file that is neither tiny nor big."""
    return Call("POST", "/files", {"data": {"purpose": "batch"}, "files": {"file": ("input.jsonl", b"{}\n" * 10_000)}})


def send(stack: Stack, call: Call) -> Reply:
    """Raises a requests.Timeout when nothing comes in PATIENCE."""
    began = time.monotonic()
    url, key = stack.base_url + call.path, {"x-api-key": stack.api_key}
    response = requests.request(call.method, url, headers=key, timeout=PATIENCE, **call.body)
    return Reply(call, response, time.monotonic() - began)


def replies_for(seconds: float, drill: Drill) -> list[Reply]:
    """Every kind of call, again and again, all kinds at once. The promises are about time that passes, so it must."""
    end = time.monotonic() + seconds

    def go_on(call: Call) -> Iterator[Reply]:
        while time.monotonic() < end:
            yield send(drill.stack, call)
            time.sleep(0.25)  # as a client would

    calls = every_call(drill)
    with ThreadPoolExecutor(len(calls)) as callers:
        return [reply for replies in callers.map(lambda call: list(go_on(call)), calls) for reply in replies]


def assert_refused(replies: list[Reply], status: int, code: str) -> None:
    """Each is an error that a client understands, and says when to ask again."""
    for call, response, seconds in replies:
        seen = (call.method, call.path, response.status_code, response.text[:300])
        assert response.status_code == status, seen
        assert error_of(response)["code"] == code, seen
        assert int(response.headers["retry-after"]) > 0, seen
        assert seconds < PATIENCE, seen


def slowest(replies: list[Reply]) -> float:
    return max(reply.seconds for reply in replies)
