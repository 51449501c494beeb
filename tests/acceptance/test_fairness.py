"""One tenant's huge batch keeps nobody waiting."""

import time

import openai

from tests.acceptance.drill import Drill
from tests.conftest import jsonl
from tests.integration.conftest import ask
from tests.stack import Stack, finished, submit, wait_until

THREADS = 32  # of both workers


def another_tenant(stack: Stack) -> openai.OpenAI:
    return stack.sdk(stack.new_tenant("another tenant").api_key)


def test_a_small_batch_overtakes_a_huge_one_that_fills_every_worker(drill: Drill) -> None:
    sdk = another_tenant(drill.stack)
    drill.begin(10_000, "slow-500")
    wait_until(lambda: drill.chunks_in("running") == THREADS, "no worker has a place left")

    began = time.monotonic()
    small = finished(sdk, submit(sdk, jsonl(ask("echo", str(number)) for number in range(50))))
    seconds = time.monotonic() - began

    assert small.status == "completed"
    huge = drill.sdk.batches.retrieve(drill.batch.id)
    assert huge.status == "in_progress"
    assert huge.request_counts
    print(f"50 lines took {seconds:.1f} s beside 10,000, of which {huge.request_counts.completed} were done by then")
    assert huge.request_counts.completed < 5_000
    drill.sdk.batches.cancel(drill.batch.id)
    drill.check(status="cancelled")
    assert drill.sent_again() == 0, "what a worker lets go of is not sent twice"
