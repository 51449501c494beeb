"""`kill -9` between every two steps of an upload, a create, a chunk and an assembly."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from openai import APIConnectionError, ConflictError, OpenAI
from openai.types import Batch

from apps.observability.failpoints import POINTS
from tests.acceptance.drill import Drill, Ended
from tests.conftest import jsonl
from tests.fakes.upstream import FakeUpstream
from tests.integration.conftest import ask
from tests.stack import LEASE_SECONDS, Stack, finished, submit, wait_until

LINES = 120
NAMES = [f"line {number}" for number in range(LINES)]
CONTENT = jsonl(ask("echo", name) for name in NAMES[:-1]) + jsonl([ask("status-400", NAMES[-1])])


class Traps:
    """A stack whose processes die where a test says."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        self.stack = stack
        self._folder = folder

    def set(self, point: str) -> None:
        (self._folder / point).touch()

    def is_sprung(self, point: str) -> bool:
        return not (self._folder / point).exists()


@pytest.fixture(scope="module")
def traps(witness: FakeUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traps]:
    folder = tmp_path_factory.mktemp("failpoints")
    environ = {
        "INFERENCE_BASE_URL": witness.base_url,
        "LEASE_SECONDS": str(LEASE_SECONDS),
        "DEBUG": "true",
        "FAILPOINTS_DIR": str(folder),
    }
    stack = Stack(tmp_path_factory.mktemp("stack"), environ)
    yield Traps(stack, folder)
    stack.stop()


@pytest.fixture
def sdk(traps: Traps) -> OpenAI:
    return traps.stack.sdk()


def drill_of(traps: Traps, witness: FakeUpstream, ended: list[Ended], batch: Batch) -> Drill:
    drill = Drill(traps.stack, witness, ended)
    drill.adopt(batch, NAMES)
    return drill


def ids_of(stack: Stack) -> set[str]:
    return set(stack.all_of_postgres("SELECT id FROM batches_batch"))


def points(*stages: str) -> list[str]:
    chosen = [point for point in POINTS if point.partition(".")[0] in stages]
    assert chosen
    return chosen


def test_every_point_belongs_to_a_drill() -> None:
    assert points("upload", "create", "start", "run", "assemble") == list(POINTS)


@pytest.mark.parametrize("point", points("upload", "create"))
def test_a_web_process_that_dies_leaves_a_whole_batch_or_none(
    traps: Traps, witness: FakeUpstream, ended: list[Ended], sdk: OpenAI, point: str
) -> None:
    before = ids_of(traps.stack)
    traps.set(point)
    with pytest.raises(APIConnectionError):
        submit(sdk, CONTENT)
    assert traps.is_sprung(point)
    unanswered = ids_of(traps.stack) - before

    repeated = wait_until(lambda: _submitted(sdk), "the web process is back")

    assert len(unanswered) == (1 if point == "create.committed" else 0)
    for batch_id in (*unanswered, repeated.id):
        traps.stack.execute(TIME_PASSES["create"], batch_id)
        batch = sdk.batches.retrieve(batch_id)
        wait_until(partial(swept, traps.stack, batch), "it has ended", 30)
        drill_of(traps, witness, ended, batch).check(killed=True)
    held = traps.stack.ask_postgres("SELECT count(*) FROM files_file WHERE readers > 0")
    assert held == 0, "no input is held by a batch that does not exist"


# A claim that nobody ends runs out after half a minute.
KEYS_RUN_OUT = "UPDATE idempotency_idempotencykey SET claimed_until = now() WHERE object_id = ''"


@pytest.mark.parametrize("point", ["create.moved", "create.committed"])
def test_a_create_with_a_key_that_dies_is_made_once_by_the_sdks_own_retries(
    traps: Traps, sdk: OpenAI, point: str
) -> None:
    stored = sdk.files.create(file=("input.jsonl", CONTENT), purpose="batch")
    key = {"Idempotency-Key": f"{point}-{stored.id}"}
    before = ids_of(traps.stack)
    traps.set(point)

    def create() -> Batch | None:
        traps.stack.execute(KEYS_RUN_OUT)
        try:
            return sdk.with_options(max_retries=2).batches.create(
                input_file_id=stored.id, endpoint="/v1/chat/completions", completion_window="24h", extra_headers=key
            )
        except (APIConnectionError, ConflictError):
            return None

    batch = wait_until(create, "it is created")

    assert traps.is_sprung(point)
    assert ids_of(traps.stack) - before == {batch.id}


@pytest.mark.parametrize("point", ["upload.stored", "create.moved"])
def test_a_retry_that_dies_leaves_nothing_that_a_client_sees(traps: Traps, sdk: OpenAI, point: str) -> None:
    old = finished(sdk, submit(sdk, jsonl([ask("quota", "a"), ask("echo", "b")])))
    batches, files = ids_of(traps.stack), {stored.id for stored in sdk.files.list()}
    traps.set(point)

    with pytest.raises(APIConnectionError):
        sdk.post(f"/batches/{old.id}/retry", cast_to=Batch)

    assert traps.is_sprung(point)
    seen = wait_until(lambda: _files_of(sdk), "the web process is back")
    assert (ids_of(traps.stack), seen) == (batches, files)


def _files_of(sdk: OpenAI) -> set[str] | None:
    try:
        return {stored.id for stored in sdk.files.list()}
    except APIConnectionError:
        return None


def _submitted(sdk: OpenAI) -> Batch | None:
    try:
        return submit(sdk, CONTENT)
    except APIConnectionError:
        return None


@pytest.mark.parametrize("point", points("start", "run", "assemble"))
def test_a_worker_that_dies_at_any_step_loses_nothing(
    traps: Traps, witness: FakeUpstream, ended: list[Ended], sdk: OpenAI, point: str
) -> None:
    traps.set(point)
    batch = submit(sdk, CONTENT)
    wait_until(lambda: traps.is_sprung(point), f"{point} is reached")
    stage = point.partition(".")[0]
    traps.stack.execute(TIME_PASSES[stage], batch.id)

    wait_until(lambda: swept(traps.stack, batch), "it has ended", 30)
    if point in AFTER_THE_END:
        purge(traps.stack, batch)

    # What was in flight, or answered after the last flush of the journal, is lost with a worker that dies; at whatever
    # step of one chunk it does, it may be anywhere with the batch's other one.
    allowed = LINES if stage == "run" else 0
    drill_of(traps, witness, ended, batch).check(allowed_again=allowed, killed=True)


AFTER_THE_END = {"assemble.committed", "assemble.parts_removed"}
"""What was not cleared away by then is the purge's, an hour after the batch has ended."""


# What the process that died at this stage was about to send, or had taken, is found when so much time has passed.
TIME_PASSES = {
    "create": "UPDATE batches_batch SET in_progress_at = in_progress_at - interval '1 minute' WHERE id = %s",
    "start": "UPDATE batches_chunk SET enqueued_at = enqueued_at - interval '1 minute' WHERE batch_id = %s",
    "run": "UPDATE batches_chunk SET lease_expires_at = lease_expires_at - interval '1 minute' WHERE batch_id = %s",
    "assemble": "UPDATE batches_batch SET assembling_until = assembling_until - interval '1 minute' WHERE id = %s",
}


def swept(stack: Stack, batch: Batch) -> bool:
    """The batch has ended; the sweep that beat sends every ten seconds comes a little sooner."""
    stack.send("batches.resume")
    status = stack.ask_postgres("SELECT status FROM batches_batch WHERE id = %s", batch.id)
    return bool(status == "completed")


def purge(stack: Stack, batch: Batch) -> None:
    """As if it had ended two hours ago."""
    stack.execute("UPDATE batches_batch SET completed_at = completed_at - interval '2 hours' WHERE id = %s", batch.id)
    stack.send("batches.purge")
