"""POST /v1/batches/{id}/retry: a new batch of the lines that failed for a passing reason."""

import json
from typing import Any

import pytest
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.api.errors import InvalidRequest, StorageError
from apps.api.ids import line_id, new_id
from apps.batches import codes, lifecycle
from apps.batches.models import Batch, Chunk
from apps.batches.pipeline import submit as submitting
from apps.batches.pipeline.parts import error_line, parse_lines
from apps.batches.pipeline.retry import Retry, retry
from apps.batches.states import BatchStatus
from apps.files import storage, uploads
from apps.files.jsonl import split_lines
from apps.files.models import File
from apps.inference.results import Failed
from apps.projects.models import Project
from tests.conftest import Person, create_batch, error_of, jsonl, line, uploaded
from tests.fakes.upstream import FakeUpstream
from tests.integration.conftest import ask, new_batch, run_batch

pytestmark = pytest.mark.django_db
runs_batches = pytest.mark.django_db(transaction=True)


def ask_again(person: Person, batch: Batch, body: Any = None, **headers: Any) -> Any:
    return person.client.post(f"/v1/batches/{batch.pk}/retry", body, format="json", **headers)


def again(person: Person, batch: Batch, body: Any = None) -> Batch:
    response = ask_again(person, batch, body)
    assert response.status_code == 200, response.content
    return Batch.objects.get(pk=response.json()["id"])


def input_of(batch: Batch) -> bytes:
    with storage.open_object(batch.input_file.object_key) as stored:
        return stored.read()


def objects() -> list[str]:
    return storage.names_in(storage.UPLOADS)


@pytest.fixture
def mixed(alice: Person, upstream: FakeUpstream, settings: Any) -> Batch:
    """Ended; three lines failed for a passing reason, one for its own fault, one succeeded."""
    settings.INFERENCE_MAX_ATTEMPTS = 1
    lines = [ask("echo", "good"), ask("status-500", "x" * 100), ask("status-400", "own"), ask("garbage"), ask("quota")]
    return run_batch(new_batch(alice, lines, metadata={"team": "search"}, output_expires_after=HOUR))


@pytest.fixture
def slow(alice: Person) -> Batch:
    """Ended; two of its three lines were not answered in time."""
    return ended(alice, jsonl([line("a"), line("b"), line("c")]), ["timeout", None, "timeout"])


HOUR = {"anchor": "created_at", "seconds": 3_600}


@runs_batches
def test_only_lines_that_failed_for_a_passing_reason_are_sent_again(
    mixed: Batch, alice: Person, started: list[str]
) -> None:
    before = Batch.objects.values().get(pk=mixed.pk)

    response = ask_again(alice, mixed)

    body = response.json()
    assert response.status_code == 200
    assert (body["status"], body["retry_of"], body["endpoint"]) == ("in_progress", mixed.pk, mixed.endpoint)
    assert body["metadata"] == {"team": "search"}
    assert body["request_counts"]["total"] == 3
    new = Batch.objects.get(pk=body["id"])
    assert input_of(new) == jsonl([ask("status-500", "x" * 100), ask("garbage"), ask("quota")])
    assert new.output_expires_after == 3_600
    assert started[-1] == new.pk
    assert Batch.objects.values().get(pk=mixed.pk) == before
    assert alice.client.get(f"/v1/batches/{mixed.pk}").json()["retry_of"] is None
    shown = alice.client.get(f"/v1/files/{new.input_file_id}").json()
    assert (shown["purpose"], shown["bytes"]) == ("batch", len(input_of(new)))


@runs_batches
def test_the_codes_may_be_named_and_what_carries_over_replaced(mixed: Batch, alice: Person) -> None:
    day = {"anchor": "created_at", "seconds": 86_400}
    new = again(
        alice,
        mixed,
        {"codes": ["invalid_request_error", "timeout"], "metadata": {"try": 2}, "output_expires_after": day},
    )

    assert input_of(new) == jsonl([ask("status-400", "own")])
    assert (new.metadata, new.output_expires_after) == ({"try": 2}, 86_400)


@runs_batches
def test_cancelled_lines_are_sent_again_only_when_asked_for(alice: Person, upstream: FakeUpstream) -> None:
    batch = new_batch(alice, [ask("echo", "a"), ask("echo", "b")])
    lifecycle.cancel(batch)
    cancelled = run_batch(batch)

    refused = ask_again(alice, cancelled)

    assert (refused.status_code, error_of(refused)["code"]) == (400, "nothing_to_retry")
    assert again(alice, cancelled, {"codes": ["batch_cancelled"]}).total == 2


@runs_batches
def test_there_may_be_nothing_to_retry(alice: Person, upstream: FakeUpstream) -> None:
    done = run_batch(new_batch(alice, [ask("echo")]))
    rejected = error_of(create_batch(alice, uploaded(alice, b"{}")))["batch_id"]
    before = objects()

    for batch in (done, Batch.objects.get(pk=rejected)):
        refused = ask_again(alice, batch)
        assert (refused.status_code, error_of(refused)["code"]) == (400, "nothing_to_retry")
    assert objects() == before


def test_a_batch_that_runs_is_not_retried(alice: Person) -> None:
    refused = ask_again(alice, new_batch(alice, [ask("echo")]))

    assert refused.status_code == 409
    assert error_of(refused)["code"] == "batch_not_retryable"
    assert "in_progress" in error_of(refused)["message"]


def test_codes_are_a_list_of_texts(slow: Batch, alice: Person) -> None:
    for wrong in ([], "timeout", None, {"timeout": 1}, [7], ["timeout", ["a"]]):
        refused = ask_again(alice, slow, {"codes": wrong})

        assert (refused.status_code, error_of(refused)["param"]) == (400, "codes")


def test_unknown_codes_are_named(slow: Batch, alice: Person) -> None:
    refused = error_of(ask_again(alice, slow, {"codes": ["timeout", "time_out", "\ud83d", "x" * 10_000]}))

    assert refused["param"] == "codes"
    assert '"time_out"' in refused["message"]
    assert '"timeout"' not in refused["message"]
    assert len(refused["message"]) < 1_000


@pytest.mark.parametrize("how", ["deleted", "expired", "lost"])
def test_without_its_files_a_batch_is_not_retried(alice: Person, how: str) -> None:
    for which in ("input_file_id", "error_file_id"):
        batch = ended(alice, jsonl([line()]), ["timeout"])
        gone = File.objects.get(pk=getattr(batch, which))
        if how == "deleted":
            assert alice.client.delete(f"/v1/files/{gone.pk}").status_code == 200
        elif how == "expired":
            File.objects.filter(pk=gone.pk).update(expires_at=timezone.now())
        else:
            storage.remove(gone.object_key)

        refused = ask_again(alice, batch)

        assert refused.status_code == 404
        assert (error_of(refused)["code"], error_of(refused)["param"]) == ("file_not_found", which)
        assert gone.pk in error_of(refused)["message"]
    assert not Batch.objects.exclude(retry_of=None).exists()


def test_a_strangers_batch_is_not_found(slow: Batch, charlie: Person) -> None:
    refused = ask_again(charlie, slow)

    assert (refused.status_code, error_of(refused)["code"]) == (404, "batch_not_found")
    assert Batch.objects.count() == 1


def test_the_same_request_with_a_key_is_done_once(slow: Batch, alice: Person) -> None:
    first, second = (ask_again(alice, slow, HTTP_IDEMPOTENCY_KEY="k") for _ in range(2))
    other = ask_again(alice, slow, {"codes": ["timeout"]}, HTTP_IDEMPOTENCY_KEY="k")

    assert first.json()["id"] == second.json()["id"]
    assert error_of(other)["code"] == "idempotency_key_reused"
    assert Batch.objects.count() == 2


def test_what_submit_refuses_leaves_no_input_behind(slow: Batch, alice: Person, settings: Any) -> None:
    before, files = objects(), alice.client.get("/v1/files").json()
    settings.MAX_BATCH_LINES = 1

    refused = ask_again(alice, slow)

    assert refused.status_code == 400
    assert error_of(refused)["message"] == "Input file exceeds maximum of 1 lines"
    assert alice.client.get(f"/v1/batches/{error_of(refused)['batch_id']}").json()["retry_of"] == slow.pk
    assert alice.client.get("/v1/files").json() == files
    assert objects() == before


@pytest.mark.parametrize("limit", [{"max_enqueued_lines": 1}, {"max_stored_bytes": 700}])
def test_a_retry_over_a_limit_leaves_nothing_behind(slow: Batch, alice: Person, limit: dict[str, int]) -> None:
    before, files = objects(), File.objects.count()
    Project.objects.filter(pk=alice.project.pk).update(**limit)

    refused = ask_again(alice, slow)

    assert refused.status_code == 429
    assert error_of(refused)["limit_name"] == next(iter(limit)).removeprefix("max_")
    assert (objects(), File.objects.count(), Batch.objects.count()) == (before, files, 1)


def test_what_breaks_leaves_no_input_behind(slow: Batch, alice: Person, monkeypatch: Any) -> None:
    before, files = objects(), File.objects.count()

    def fail(*_: Any, **__: Any) -> None:
        raise StorageError

    monkeypatch.setattr(submitting, "plan", fail)

    assert ask_again(alice, slow).status_code == 500
    assert (objects(), File.objects.count(), Batch.objects.count()) == (before, files, 1)


def test_a_short_input_is_not_retried_in_part(slow: Batch, alice: Person) -> None:
    storage.remove(slow.input_file.object_key)
    with storage.Spool() as spool:
        spool.write(jsonl([line("a")]))
        storage.store(slow.input_file.object_key, spool)

    assert error_of(ask_again(alice, slow))["code"] == "storage_error"


# --- Which lines, and what becomes of their bytes ---

SPACES = st.sampled_from(["", " ", "  ", "\t"])
FAILED_WITH = st.sampled_from([None, *sorted(codes.EVERY)])


@st.composite
def written(draw: Any) -> tuple[bytes, list[str | None]]:
    """An input as people write them, and what each of its lines failed with: None for one that succeeded."""
    count = draw(st.integers(1, 12))
    text = draw(st.sampled_from(["", "\ufeff"]))
    outcomes = []
    for number in range(count):
        gap, end = draw(SPACES), draw(st.sampled_from(["\n", "\r\n", "\n\n", "\n \r\n"]))
        name = json.dumps(f"{number} " + draw(st.text(max_size=70)), ensure_ascii=draw(st.booleans()))
        if "\\ud" in name or not name.isprintable():
            name = json.dumps(f"line {number}")
        body = f'{{"model":"m","n":1.50,{gap}"n":1e2}}'
        whole = f'{{"url":"/v1/chat/completions",{gap}"custom_id":{name},"method":"post","body":{body}{gap}}}'
        text += whole + (end if number < count - 1 or draw(st.booleans()) else "")
        outcomes.append(draw(FAILED_WITH))
    return text.encode(), outcomes


def ended(person: Person, content: bytes, outcomes: list[str | None]) -> Batch:
    """A batch that has ended so, without anybody having sent its lines."""
    source, batch_id = stored(person, content), new_id("batch_")
    rows = zip(parse_lines(content, 1), outcomes, strict=True)
    failed = [
        error_line(line_id(batch_id, number), row.custom_id, Failed(code, "é\n", "timeout"))
        for (number, row), code in rows
        if code
    ]
    return Batch.objects.create(
        id=batch_id,
        project=person.project,
        input_file=source,
        error_file=stored(person, b"".join(failed)),
        endpoint="/v1/chat/completions",
        status=BatchStatus.COMPLETED,
        expires_at=timezone.now(),
    )


def stored(person: Person, content: bytes) -> File:
    with storage.Spool() as spool:
        spool.write(content)
        return uploads.store_upload(person.project, spool, None)


@given(written(), st.sets(st.sampled_from(sorted(codes.EVERY)), min_size=1))
@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
def test_each_chosen_line_is_there_once_and_unchanged(
    alice: Person, made: tuple[bytes, list[str | None]], chosen: set[str]
) -> None:
    content, outcomes = made
    batch = ended(alice, content, outcomes)
    texts = [text for _, text in split_lines(content, 1)]
    expected = [text for text, code in zip(texts, outcomes, strict=True) if code in chosen]

    if not expected:
        with pytest.raises(InvalidRequest):
            retry(Retry(batch, alice.key, codes=chosen))
        return
    new = retry(Retry(batch, alice.key, codes=chosen))
    copied = input_of(new)
    assert [text for _, text in split_lines(copied, 1)] == expected
    assert len(copied) == new.input_file.bytes <= len(content)
    assert sum(Chunk.objects.filter(batch=new).values_list("lines", flat=True)) == new.total == len(expected)


def test_a_full_input_without_a_last_newline_may_be_retried_whole(alice: Person, settings: Any) -> None:
    content = jsonl([line("a"), line("b")]).removesuffix(b"\n")
    settings.MAX_BATCH_BYTES = len(content)

    new = retry(Retry(ended(alice, content, ["timeout", "timeout"]), alice.key))

    assert input_of(new) == content
