"""Faults in mid-batch, with the upstream as witness of what was sent more than once."""

import json
import signal

import pytest
import redis
from openai import OpenAI

from tests.conftest import jsonl
from tests.fakes.upstream import FakeUpstream
from tests.integration.conftest import ask
from tests.stack import Stack, finished, submit, wait_until

LINES = 5_000
SLOTS = 64
ANSWERS_PER_SECOND = SLOTS / 0.05


@pytest.fixture
def sdk(stack: Stack) -> OpenAI:
    return stack.sdk()


class Witnessed:
    """A batch of lines that take 50 ms each, and what the upstream saw of it."""

    def __init__(self, sdk: OpenAI, witness: FakeUpstream) -> None:
        self._sdk = sdk
        self._witness = witness
        self._before = witness.request_count
        self.batch = submit(sdk, jsonl(ask("slow-50", str(number)) for number in range(LINES)))

    def wait_for(self, share: float) -> None:
        """Until this share of the lines has been sent."""
        self._witness.wait_for_requests(self._before + int(LINES * share), timeout=60)

    def sent_again(self) -> int:
        """How many requests there were beyond one a line."""
        return self._witness.request_count - self._before - LINES

    def check(self) -> None:
        """It completes with every line exactly once."""
        ended = finished(self._sdk, self.batch, seconds=120)
        assert ended.status == "completed"
        assert ended.error_file_id is None
        rows = self._sdk.files.content(ended.output_file_id or "").text.splitlines()
        assert [json.loads(row)["custom_id"] for row in rows] == [str(number) for number in range(LINES)]


def nothing_is_left_in_the_journal(stack: Stack) -> bool:
    with redis.Redis.from_url(stack.env["REDIS_URL"]) as broker:
        return not list(broker.scan_iter("journal:*"))


def test_both_workers_killed_in_mid_batch(stack: Stack, sdk: OpenAI, witness: FakeUpstream) -> None:
    running = Witnessed(sdk, witness)
    running.wait_for(0.3)
    stack.kill("worker-1", signal.SIGKILL)
    running.wait_for(0.6)
    stack.kill("worker-2", signal.SIGKILL)

    running.check()

    allowed = 2 * (SLOTS + ANSWERS_PER_SECOND)
    print(f"SIGKILL of both workers: {running.sent_again()} lines sent again, at most {allowed:.0f} allowed")
    assert running.sent_again() <= allowed
    assert nothing_is_left_in_the_journal(stack)


def test_a_rolling_restart_sends_no_line_twice(stack: Stack, sdk: OpenAI, witness: FakeUpstream) -> None:
    running = Witnessed(sdk, witness)
    running.wait_for(0.3)
    stack.kill("worker-1", signal.SIGTERM)
    running.wait_for(0.6)
    stack.kill("worker-2", signal.SIGTERM)

    running.check()

    print(f"SIGTERM of both workers: {running.sent_again()} lines sent again")
    assert running.sent_again() == 0
    wait_until(lambda: nothing_is_left_in_the_journal(stack), "the journal is dropped")
