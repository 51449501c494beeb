"""Three drills on each storage: the folder, where all other drills take place, and a bucket of a real S3 server."""

import signal
from collections.abc import Iterator

import pytest

from tests.acceptance.drill import Drill, Ended, assert_unchanged
from tests.acceptance.test_drills import ANSWERS_PER_SECOND, SLOTS
from tests.acceptance.test_outages import storage_goes_away_in_mid_batch
from tests.conftest import jsonl
from tests.fakes.upstream import FakeUpstream
from tests.integration.conftest import ask
from tests.stack import LEASE_SECONDS, Stack, submit, wait_until

LINES = 600
PURGE_AT_ONCE = (
    "from datetime import timedelta; from apps.files import sweeps; from apps.batches import sweeps as batches; "
    "sweeps.ORPHAN_AGE = timedelta(seconds=-5); batches.KEPT_AFTER_END = timedelta(0); sweeps.purge(); batches.purge()"
)
"""As if all that lies in the storage lay there since yesterday; no object of S3's can be made to look old."""


@pytest.fixture(scope="module")
def on_s3(witness: FakeUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """`make up STORAGE=s3`."""
    environ = {"INFERENCE_BASE_URL": witness.base_url, "LEASE_SECONDS": str(LEASE_SECONDS), "WEB_PROCESSES": "1"}
    running = Stack(tmp_path_factory.mktemp("s3"), environ | {"STORAGE": "s3"})
    yield running
    running.stop()


@pytest.fixture(scope="module")
def ended_on_s3(on_s3: Stack) -> Iterator[list[Ended]]:
    """As `ended`, looked at while that stack still runs."""
    batches: list[Ended] = []
    yield batches
    assert_unchanged(batches)


@pytest.fixture
def s3_drill(on_s3: Stack, witness: FakeUpstream, ended_on_s3: list[Ended]) -> Drill:
    return Drill(on_s3, witness, ended_on_s3)


def both_workers_are_killed_in_mid_batch(drill: Drill) -> None:
    drill.begin(LINES, "slow-50")
    drill.wait_for_sent(LINES // 3)
    drill.stack.kill("worker-1", signal.SIGKILL)
    drill.stack.kill("worker-2", signal.SIGKILL)

    allowed = int(2 * (SLOTS + ANSWERS_PER_SECOND))
    drill.check(allowed_again=allowed, killed=True)
    print(f"SIGKILL of both workers: {drill.sent_again()} lines sent again, at most {allowed} allowed")


def orphans_are_removed_and_nothing_in_use(drill: Drill) -> None:
    """In use: a deleted input of a batch that runs, that batch's parts, an upload's part, results."""
    stack, sdk = drill.stack, drill.sdk
    drill.begin(10)
    ended = drill.check()
    result = stack.ask_postgres("SELECT object_key FROM files_file WHERE id = %s", ended.output_file_id)
    names = [f"line {number}" for number in range(150)]
    content = jsonl(ask("echo" if number < 100 else "hang", name) for number, name in enumerate(names))
    upload = sdk.uploads.create(bytes=len(content), filename="a.jsonl", mime_type="application/jsonl", purpose="batch")
    part = sdk.uploads.parts.create(upload.id, data=content)
    drill.witness.hold()
    try:
        batch = submit(sdk, content)
        drill.adopt(batch, names)
        wait_until(lambda: drill.chunks_in("done") == 1, "one of two chunks is done")
        sdk.files.delete(batch.input_file_id)
        in_use = {
            f"files/{batch.input_file_id}.jsonl",
            f"uploads/{part.id}.part",
            f"batches/{batch.id}/parts/0.1.output.jsonl",
            result,
        }
        forgotten = "batches/batch_" + 24 * "0"
        orphans = {"files/file-orphan.jsonl", "uploads/part_orphan.part", f"{forgotten}/output.jsonl"}
        for key in orphans:
            stack.plant(key)

        stack.send("files.purge")
        stack.manage("shell", "-c", PURGE_AT_ONCE)

        left = stack.all_objects()
        assert in_use <= left
        assert not orphans & left
    finally:
        drill.witness.release()
    drill.check()
    assert sdk.files.content(ended.output_file_id or "").content
    completed = sdk.uploads.complete(upload.id, part_ids=[part.id])
    assert completed.file is not None
    assert sdk.files.content(completed.file.id).content == content


def test_orphans_are_removed_and_nothing_in_use_in_a_folder(drill: Drill) -> None:
    orphans_are_removed_and_nothing_in_use(drill)


def test_orphans_are_removed_and_nothing_in_use_on_s3(s3_drill: Drill) -> None:
    orphans_are_removed_and_nothing_in_use(s3_drill)


def test_both_workers_killed_in_mid_batch_on_s3(s3_drill: Drill) -> None:
    both_workers_are_killed_in_mid_batch(s3_drill)


def test_s3_away_in_mid_batch_costs_no_line(s3_drill: Drill, held: FakeUpstream) -> None:
    storage_goes_away_in_mid_batch(s3_drill, held, seconds=3)


def test_the_keys_to_s3_are_for_the_owner_only(on_s3: Stack) -> None:
    secrets = ("s3/secret_key", "dev.env", "run/processes.json")
    assert {(on_s3.var_dir / name).stat().st_mode & 0o777 for name in secrets} == {0o600}
    assert on_s3.env["AWS_SECRET_ACCESS_KEY"] not in " ".join(on_s3.spec("s3")["argv"])
