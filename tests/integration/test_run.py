"""Running chunks and assembling their parts, against real HTTP (wire.md §7–8)."""

import gc
import json
import threading
import weakref
from datetime import timedelta
from itertools import count
from typing import Any

import pytest
from django.core.files.storage import default_storage
from django.db import connection
from django.utils import timezone

from apps.api.errors import StorageError
from apps.batches import heartbeat, leases, lifecycle, sweeps
from apps.batches.models import Batch, Chunk, Tally
from apps.batches.pipeline import assemble, run, send
from apps.batches.pipeline.run import Outcome
from apps.batches.states import BatchStatus, ChunkState
from apps.devstack.waiting import until
from apps.files.models import File
from apps.projects.models import ApiKey
from apps.upstreams.models import Upstream as Row
from tests.conftest import Person, create_batch, line, uploaded
from tests.fakes.upstream import FakeUpstream
from tests.integration.conftest import ask, new_batch, new_client, results, run_batch, run_chunks

pytestmark = pytest.mark.django_db(transaction=True)

CODES = {
    "status-400": "invalid_request_error",
    "status-401": "authentication_error",
    "status-402": "insufficient_quota",
    "status-403": "authentication_error",
    "status-404": "not_found_error",
    "status-409": "invalid_request_error",
    "status-413": "request_too_large",
    "status-422": "invalid_request_error",
    "status-500": "internal_error",
    "status-502": "internal_error",
    "context": "context_length_exceeded",
    "garbage": "internal_error",
    "truncated": "internal_error",
    "reset": "internal_error",
    "quota": "insufficient_quota",
}


@pytest.fixture(autouse=True)
def _no_back_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts follow each other at once."""
    monkeypatch.setattr("apps.inference.retry.BASE_SECONDS", 0.0)


def test_each_line_ends_in_exactly_one_file_with_its_code(alice: Person, upstream: FakeUpstream) -> None:
    good = ["echo", "pretty", "surrogate", "flaky-2", "busy-2"]

    batch = run_batch(new_batch(alice, [ask(model) for model in [*good, *CODES]]))

    assert batch.status == BatchStatus.COMPLETED
    output, errors = results(alice, batch.output_file_id), results(alice, batch.error_file_id)
    assert list(output) == good
    assert {name: row["error"]["code"] for name, row in errors.items()} == CODES
    assert all(row["response"] is None for row in errors.values())
    assert all(row["error"] is None for row in output.values())
    assert (batch.completed, batch.failed) == (len(good), len(CODES))


def test_an_output_line_carries_the_answer_and_both_ids(alice: Person, upstream: FakeUpstream) -> None:
    batch = run_batch(new_batch(alice, [ask("echo", "a"), ask("echo", "b")]))

    row = results(alice, batch.output_file_id)["b"]

    assert row["response"]["status_code"] == 200
    assert row["response"]["body"]["choices"][0]["message"]["content"] == "I am b"
    assert row["response"]["request_id"].startswith("req_up_")
    assert row["id"] in {request.request_id for request in upstream.requests}
    assert batch.total_tokens > 0
    assert batch.input_tokens + batch.output_tokens == batch.total_tokens


def test_the_upstreams_message_and_param_are_passed_on(alice: Person, upstream: FakeUpstream) -> None:
    batch = run_batch(new_batch(alice, [ask("status-400")]))

    error = results(alice, batch.error_file_id)["status-400"]["error"]
    assert error["message"]
    assert error["param"] == "model"
    assert batch.output_file_id is None
    assert batch.status == BatchStatus.COMPLETED


def test_internal_errors_tell_attempts_and_the_last_cause(alice: Person, upstream: FakeUpstream) -> None:
    batch = run_batch(new_batch(alice, [ask("status-500")]))

    message = results(alice, batch.error_file_id)["status-500"]["error"]["message"]
    assert "4 attempts" in message
    assert "500" in message
    assert len(upstream.requests) == 4


HOSTILE_BODIES = [
    b'{"model":"echo","messages":[{"role":"user","content":"nul \\u0000 sep \\u2028"}]}',
    '{"model":"echo","messages":[{"role":"user","content":"😀 \u2028 \u2029"}]}'.encode(),
    b'{"model":"echo", "a" : 1.0, "a":1e2,"messages":[] , "n":123456789012345678901234567890}',
    b'{"model":"echo","n":' + b"9" * 300 + b',"deep":' + b"[" * 900 + b"]" * 900 + b"}",
    b'{"messages":[],"model":"ec\\u0068o"\t}',
]


@pytest.mark.parametrize("body", HOSTILE_BODIES)
@pytest.mark.parametrize("ending", [b"\n", b"\r\n", b""])
def test_the_body_reaches_the_upstream_byte_for_byte(
    alice: Person, upstream: FakeUpstream, body: bytes, ending: bytes
) -> None:
    custom_id = b'"\\u0000 \xf0\x9f\x98\x80 \\ud83d\\ude00 \xe2\x80\xa8"'
    content = b'\xef\xbb\xbf\n{"custom_id":%b,"method":"POST","url":"/v1/chat/completions","body":%b}%b'
    response = create_batch(alice, uploaded(alice, content % (custom_id, body, ending)))

    batch = run_batch(Batch.objects.get(pk=response.json()["id"]))

    assert [request.body for request in upstream.requests] == [body]
    raw = alice.client.get(f"/v1/files/{batch.output_file_id}/content").getvalue()
    assert next(map(json.loads, raw.splitlines()))["custom_id"] == json.loads(custom_id)


def test_ids_of_lines_are_the_same_at_every_attempt(alice: Person, upstream: FakeUpstream) -> None:
    run_batch(new_batch(alice, [ask("flaky-3")]))

    assert len({request.request_id for request in upstream.requests}) == 1


def test_a_run_that_has_ended_is_freed_at_once(
    alice: Person, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lines and answers are megabytes, and the workers' cyclic garbage collector comes rarely."""
    runs: list[weakref.ref[send.ChunkRun]] = []

    def remembered(*args: Any) -> send.ChunkRun:
        made = send.ChunkRun(*args)
        runs.append(weakref.ref(made))
        return made

    monkeypatch.setattr(run, "ChunkRun", remembered)
    gc.disable()
    try:
        run_batch(new_batch(alice, [ask("echo", "a"), ask("echo", "b"), ask("status-400"), ask("flaky-2")]))
        until(lambda: runs[0]() is None, seconds=10, what="the run is still there")
    finally:
        gc.enable()


def test_lines_keep_their_order_over_chunks(alice: Person, upstream: FakeUpstream) -> None:
    batch = run_batch(new_batch(alice, [ask("echo", f"line {number}") for number in range(250)]))

    assert Chunk.objects.filter(batch=batch).count() == 3
    assert list(results(alice, batch.output_file_id)) == [f"line {number}" for number in range(250)]
    assert len(upstream.requests) == 250


def test_the_files_are_registered_right_and_the_parts_are_gone(
    alice: Person, upstream: FakeUpstream, settings: Any
) -> None:
    batch = run_batch(new_batch(alice, [ask("echo"), ask("status-400")]))

    output = alice.client.get(f"/v1/files/{batch.output_file_id}").json()
    error = alice.client.get(f"/v1/files/{batch.error_file_id}").json()
    assert output["purpose"] == error["purpose"] == "batch_output"
    assert output["filename"] == f"{output['id']}.jsonl"
    assert "is_error" not in output
    assert error["is_error"] is True
    for described in (output, error):
        content = alice.client.get(f"/v1/files/{described['id']}/content").getvalue()
        assert described["bytes"] == len(content)
    left = sorted(path.name for path in settings.STORAGE_DIR.rglob("*.jsonl"))
    assert left == sorted(["error.jsonl", "output.jsonl", f"{batch.input_file_id}.jsonl"])
    assert not list(settings.SPOOL_DIR.iterdir())


def test_a_chunk_runs_once(alice: Person, upstream: FakeUpstream) -> None:
    batch = new_batch(alice, [ask("echo")])
    run_chunks(batch)
    run_chunks(batch)

    assert len(upstream.requests) == 1


def test_assembling_twice_gives_one_result(alice: Person, upstream: FakeUpstream) -> None:
    batch = run_batch(new_batch(alice, [ask("echo")]))

    assert assemble.assemble(batch.pk) is False
    assert File.objects.filter(purpose="batch_output").count() == 1
    assert Batch.objects.get(pk=batch.pk).completed_at == batch.completed_at


def test_an_assembly_that_was_interrupted_is_repeated(alice: Person, upstream: FakeUpstream) -> None:
    batch = new_batch(alice, [ask("echo"), ask("status-400")])
    run_chunks(batch)
    lifecycle.move(batch.pk, BatchStatus.FINALIZING)

    assert assemble.assemble(batch.pk) is True
    assert Batch.objects.get(pk=batch.pk).status == BatchStatus.COMPLETED


def test_one_worker_at_a_time_assembles(alice: Person, upstream: FakeUpstream) -> None:
    batch = new_batch(alice, [ask("echo")])
    run_chunks(batch)
    assert leases.claim_assembly(batch.pk)

    assert assemble.assemble(batch.pk) is False, "somebody is at it"
    Batch.objects.update(assembling_until=timezone.now() - timedelta(seconds=1))
    assert assemble.assemble(batch.pk) is True, "whoever was at it has died"


def test_an_assembly_that_fails_can_be_repeated_at_once(
    alice: Person, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = new_batch(alice, [ask("echo")])
    run_chunks(batch)
    with monkeypatch.context() as broken:
        broken.setattr(default_storage, "save", lambda *_: 1 / 0)
        with pytest.raises(StorageError):
            assemble.assemble(batch.pk)

    assert Batch.objects.get(pk=batch.pk).output_file_id is None
    assert assemble.assemble(batch.pk) is True


def test_a_stop_after_the_last_answer_does_not_cost_the_chunk(
    alice: Person, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = new_batch(alice, [ask("echo")])
    send_all = send.ChunkRun.send_all

    async def stopped_just_after(chunk_run: send.ChunkRun) -> None:
        await send_all(chunk_run)
        chunk_run._stop(heartbeat.STOPPING)

    monkeypatch.setattr(send.ChunkRun, "send_all", stopped_just_after)

    assert run_batch(batch).status == BatchStatus.COMPLETED


def test_a_connection_that_breaks_in_mid_commit_does_not_cost_the_chunk(
    alice: Person, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = new_batch(alice, [line()])
    commit, commits = leases.commit, count()

    def cut_off_at_first(*args: Any, **kwargs: Any) -> bool:
        if next(commits) == 0:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        return commit(*args, **kwargs)

    monkeypatch.setattr(leases, "commit", cut_off_at_first)

    assert run.run(Chunk.objects.get(batch=batch).pk) == Outcome.DONE
    assert next(commits) == 2


def test_nothing_is_assembled_before_the_last_chunk_is_done(alice: Person, upstream: FakeUpstream) -> None:
    batch = new_batch(alice, [ask("echo")])

    assert assemble.assemble(batch.pk) is False
    assert Batch.objects.get(pk=batch.pk).status == BatchStatus.IN_PROGRESS


def test_lines_without_a_result_are_never_assembled_away(alice: Person, upstream: FakeUpstream) -> None:
    batch = new_batch(alice, [line(f"request-{number}") for number in range(150)])
    ran, never_ran = Chunk.objects.filter(batch=batch).order_by("index")
    run.run(ran.pk)
    Chunk.objects.filter(pk=never_ran.pk).update(state=ChunkState.DONE)  # by hand: no code does so

    with pytest.raises(RuntimeError, match="50 lines of chunk"):
        assemble.assemble(batch.pk)

    batch.refresh_from_db()
    assert batch.status == BatchStatus.IN_PROGRESS
    assert batch.output_file is None


def test_a_claim_fences_off_an_older_one(alice: Person) -> None:
    chunk = Chunk.objects.get(batch=new_batch(alice, [ask("echo")]))
    first = leases.claim(chunk.pk)
    assert first is not None
    assert leases.claim(chunk.pk) is None
    Chunk.objects.update(lease_expires_at=timezone.now() - timedelta(seconds=1))

    second = leases.claim(chunk.pk)

    assert second is not None
    assert second.epoch == first.epoch + 1
    assert leases.renew([leases.Beat(chunk.pk, first.epoch, 0, 0)]) == []
    assert leases.commit(first, Tally(1), [], halted="", output_bytes=1, error_bytes=0) is False
    assert leases.release(first) is False
    assert leases.commit(second, Tally(1), [], halted="", output_bytes=1, error_bytes=0) is True
    assert leases.commit(second, Tally(1), [], halted="", output_bytes=1, error_bytes=0) is True, "its answer was lost"
    assert leases.commit(first, Tally(1), [], halted="", output_bytes=1, error_bytes=0) is False


def test_a_heartbeat_keeps_the_counts_live(alice: Person) -> None:
    batch = new_batch(alice, [ask("echo", str(number)) for number in range(5)])
    claim = leases.claim(Chunk.objects.get(batch=batch).pk)
    assert claim is not None

    leases.renew([leases.Beat(claim.chunk.pk, claim.epoch, 3, 1)])

    counts = alice.client.get(f"/v1/batches/{batch.pk}").json()["request_counts"]
    assert counts == {"total": 5, "completed": 3, "failed": 1}


def test_counts_do_not_drop_when_a_worker_dies(alice: Person) -> None:
    batch = new_batch(alice, [ask("echo", str(number)) for number in range(5)])
    claim = leases.claim(Chunk.objects.get(batch=batch).pk)
    assert claim is not None
    leases.renew([leases.Beat(claim.chunk.pk, claim.epoch, 3, 1)])
    Chunk.objects.update(lease_expires_at=timezone.now() - timedelta(seconds=1))

    sweeps.reclaim_stalled()

    counts = alice.client.get(f"/v1/batches/{batch.pk}").json()["request_counts"]
    assert counts == {"total": 5, "completed": 3, "failed": 1}


def test_a_lost_lease_ends_the_run_without_a_trace(
    alice: Person, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    batch = new_batch(alice, [ask("echo")])
    chunk = Chunk.objects.get(batch=batch)
    commit = leases.commit

    def taken_over_just_before(claim: leases.Claim, *args: Any, **kwargs: Any) -> bool:
        Chunk.objects.filter(pk=chunk.pk).update(epoch=claim.epoch + 1)
        return commit(claim, *args, **kwargs)

    monkeypatch.setattr(leases, "commit", taken_over_just_before)

    assert run.run(chunk.pk) is Outcome.NOTHING
    assert not list(settings.STORAGE_DIR.glob("batches/**/*.jsonl"))


def test_a_chunk_that_fails_goes_back_and_says_why(alice: Person, upstream: FakeUpstream) -> None:
    batch = new_batch(alice, [ask("echo")])
    default_storage.delete(batch.input_file.object_key)

    run_chunks(batch)

    chunk = Chunk.objects.get(batch=batch)
    assert chunk.state == ChunkState.PENDING
    assert chunk.lease_expires_at is None
    assert "FileNotFoundError" in chunk.error


def test_a_cancelled_batch_keeps_what_is_done_and_writes_off_the_rest(alice: Person, upstream: FakeUpstream) -> None:
    batch = new_batch(alice, [ask("echo", str(number)) for number in range(150)])
    first, _ = Chunk.objects.filter(batch=batch).order_by("index")
    run.run(first.pk)

    cancelled = alice.client.post(f"/v1/batches/{batch.pk}/cancel").json()
    ended = run_batch(batch)

    assert cancelled["status"] == "cancelling"
    assert ended.status == BatchStatus.CANCELLED
    assert (ended.completed, ended.failed) == (100, 50)
    errors = results(alice, ended.error_file_id)
    assert {row["error"]["code"] for row in errors.values()} == {"batch_cancelled"}
    assert not set(errors) & set(results(alice, ended.output_file_id))
    assert len(upstream.requests) == 100


def test_at_the_deadline_the_rest_expires(alice: Person, upstream: FakeUpstream) -> None:
    batch = new_batch(alice, [ask("echo", str(number)) for number in range(150)])
    first, _ = Chunk.objects.filter(batch=batch).order_by("index")
    run.run(first.pk)
    Batch.objects.update(expires_at=timezone.now() - timedelta(seconds=1))

    ended = run_batch(batch)

    assert ended.status == BatchStatus.EXPIRED
    assert ended.expired_at is not None
    assert ended.finalizing_at is None
    assert (ended.completed, ended.failed) == (100, 50)
    codes = {row["error"]["code"] for row in results(alice, ended.error_file_id).values()}
    assert codes == {"batch_expired"}


def test_a_deleted_key_counts_as_revoked(alice: Person, bob: Person, upstream: FakeUpstream) -> None:
    batch = new_batch(alice, [ask("echo")])
    ApiKey.objects.filter(pk=alice.key.pk).delete()

    ended = run_batch(batch)

    assert results(bob, ended.error_file_id)["echo"]["error"]["code"] == "authentication_error"


def test_a_revoked_key_ends_the_lines_that_were_not_sent(alice: Person, bob: Person, upstream: FakeUpstream) -> None:
    batch = new_batch(alice, [ask("echo")])
    ApiKey.objects.filter(pk=alice.key.pk).update(revoked_at=timezone.now())

    ended = run_batch(batch)

    assert ended.status == BatchStatus.COMPLETED
    assert results(bob, ended.error_file_id)["echo"]["error"]["code"] == "authentication_error"
    assert not upstream.requests


def test_cancel_that_overtakes_the_assembly_wins(
    alice: Person, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = new_batch(alice, [ask("echo")])
    end = assemble._end

    def cancelled_just_before(*args: Any) -> bool:
        assert alice.client.post(f"/v1/batches/{batch.pk}/cancel").json()["status"] == "cancelling"
        return end(*args)

    monkeypatch.setattr(assemble, "_end", cancelled_just_before)
    ended = run_batch(batch)

    assert ended.status == BatchStatus.CANCELLED
    assert list(results(alice, ended.output_file_id)) == ["echo"]


def test_a_deleted_inputs_bytes_go_when_the_batch_ends(alice: Person, upstream: FakeUpstream) -> None:
    batch = new_batch(alice, [ask("echo")])
    key = batch.input_file.object_key
    alice.client.delete(f"/v1/files/{batch.input_file_id}")
    assert default_storage.exists(key)

    ended = run_batch(batch)

    assert ended.status == BatchStatus.COMPLETED
    assert not default_storage.exists(key)


def test_output_files_expire_as_asked(alice: Person, upstream: FakeUpstream) -> None:
    wanted = {"anchor": "created_at", "seconds": 7_200}
    file_id = uploaded(alice, json.dumps(line()).encode())
    created = create_batch(alice, file_id, output_expires_after=wanted).json()

    ended = run_batch(Batch.objects.get(pk=created["id"]))

    output = alice.client.get(f"/v1/files/{ended.output_file_id}").json()
    assert output["expires_at"] - output["created_at"] == 7_200


@pytest.mark.django_db(transaction=True)
def test_lines_of_one_model_go_on_while_the_upstream_of_another_is_away(
    alice: Person, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    Row.objects.create(name="here", base_url=upstream.base_url, model_patterns="echo", max_in_flight=4)
    Row.objects.create(name="off", base_url=upstream.base_url, model_patterns="other", max_in_flight=4, enabled=False)
    new_client(monkeypatch)
    batch = new_batch(
        alice, [ask(model, f"{model} {number}") for number in range(5) for model in ("other", "echo", "no")]
    )

    def run_and_leave() -> None:
        run_chunks(batch)
        connection.close()

    running = threading.Thread(target=run_and_leave)
    running.start()
    upstream.wait_for_requests(5)

    lifecycle.cancel(batch)
    running.join(30)
    assemble.assemble(batch.pk)

    ended = Batch.objects.get(pk=batch.pk)
    assert set(results(alice, ended.output_file_id)) == {f"echo {number}" for number in range(5)}
    codes = {name: row["error"]["code"] for name, row in results(alice, ended.error_file_id).items()}
    expected = {"other": "batch_cancelled", "no": "not_found_error"}
    assert codes == {f"{model} {number}": code for model, code in expected.items() for number in range(5)}
