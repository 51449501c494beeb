"""GET /v1/batches/{id}/output: what is committed so far, also while the batch ends."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.api.errors import StorageError
from apps.batches import leases, lifecycle
from apps.batches.models import Batch, Chunk, Tally
from apps.batches.pipeline import assemble
from apps.batches.pipeline.parts import ERROR, KINDS, OUTPUT, Parts
from apps.batches.states import BatchStatus
from apps.files import storage
from tests.conftest import Person, both_storages, create_batch, error_of, line, uploaded
from tests.integration.conftest import new_batch

pytestmark = [pytest.mark.django_db, both_storages]

LINES = 6


@pytest.fixture(autouse=True)
def _small_pieces(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A chunk a line, and several blocks a part."""
    settings.CHUNK_BYTES = 1
    monkeypatch.setattr(storage, "BLOCK_BYTES", 16)


def running(person: Person) -> Batch:
    return new_batch(person, [line(f"line {number}") for number in range(LINES)])


def text_of(index: int, kind: str) -> bytes:
    return b'{"%s": "%d%s"}\n' % (kind.encode(), index, b"." * 10 * index)


def finish(batch: Batch, *indexes: int, kind: str = OUTPUT, claims: int = 1) -> None:
    """These chunks are done, with a line of this kind each; the last of several claims is the one that counts."""
    for chunk in Chunk.objects.filter(batch=batch, index__in=indexes):
        for _ in range(claims - 1):
            earlier = leases.claim(chunk.pk)
            assert earlier is not None
            assert leases.release(earlier)
        claim = leases.claim(chunk.pk)
        assert claim is not None
        parts = Parts()
        parts.add(kind, chunk.first_line, text_of(chunk.index, kind))
        sizes = parts.write(claim)
        tally = Tally(completed=int(kind == OUTPUT), failed=int(kind == ERROR))
        assert leases.commit(claim, tally, [], halted="", output_bytes=sizes[OUTPUT], error_bytes=sizes[ERROR])


def get(person: Person, batch: Batch, query: str = "", **headers: Any) -> Any:
    return person.client.get(f"/v1/batches/{batch.pk}/output{query}", **headers)


def body_of(response: Any) -> bytes:
    assert response.status_code == 200, response
    body: bytes = response.getvalue()
    assert int(response["Content-Length"]) == len(body)
    return body


def joined(indexes: Any, kind: str = OUTPUT) -> bytes:
    return b"".join(text_of(index, kind) for index in sorted(indexes))


def test_what_is_committed_comes_in_the_order_of_the_input(alice: Person) -> None:
    batch = running(alice)
    empty = get(alice, batch)
    finish(batch, 3, 2)
    finish(batch, 4, claims=3)
    finish(batch, 0, 5, kind=ERROR)

    answers, failed = get(alice, batch), get(alice, batch, "?kind=error")

    assert body_of(empty) == b""
    assert body_of(answers) == joined([2, 3, 4])
    assert body_of(failed) == joined([0, 5], ERROR)
    for response in (empty, answers, failed):
        assert response["x-incomplete"] == "true"
        assert response["Accept-Ranges"] == "none"
        assert response["Content-Type"] == "application/jsonl"
    assert answers["Content-Disposition"] == f'attachment; filename="{batch.pk}.output.jsonl"'


def test_of_an_ended_batch_it_is_the_file(alice: Person) -> None:
    batch = running(alice)
    finish(batch, *range(LINES))
    assert "x-incomplete" in get(alice, batch)  # all is there, but it has not ended
    assert assemble.assemble(batch.pk)
    batch.refresh_from_db()

    whole, part = get(alice, batch), get(alice, batch, HTTP_RANGE="bytes=10-29")

    assert body_of(whole) == joined(range(LINES))
    assert whole["Content-Disposition"] == f'attachment; filename="{batch.output_file_id}.jsonl"'
    assert "x-incomplete" not in whole
    assert (part.status_code, part.getvalue()) == (206, joined(range(LINES))[10:30])


def test_an_ended_batch_without_such_lines_has_nothing_in_it(alice: Person) -> None:
    done = running(alice)
    finish(done, *range(LINES))
    assert assemble.assemble(done.pk)
    rejected = error_of(create_batch(alice, uploaded(alice, b"{}")))["batch_id"]

    for response in (get(alice, done, "?kind=error"), get(alice, Batch.objects.get(pk=rejected))):
        assert body_of(response) == b""
        assert "x-incomplete" not in response


def test_a_file_that_was_deleted_is_not_found(alice: Person) -> None:
    batch = running(alice)
    finish(batch, *range(LINES))
    assert assemble.assemble(batch.pk)
    batch.refresh_from_db()
    alice.client.delete(f"/v1/files/{batch.output_file_id}")

    gone = get(alice, batch)

    assert (gone.status_code, error_of(gone)["code"]) == (404, "file_not_found")


def test_a_cancelled_batch_keeps_what_it_had(alice: Person) -> None:
    batch = running(alice)
    finish(batch, 1)
    lifecycle.cancel(batch)
    assert body_of(get(alice, batch)) == joined([1])
    finish(batch, *({*range(LINES)} - {1}), kind=ERROR)
    assert assemble.assemble(batch.pk)

    assert Batch.objects.get(pk=batch.pk).status == BatchStatus.CANCELLED
    assert body_of(get(alice, batch)) == joined([1])


def test_another_kind_is_refused(alice: Person) -> None:
    refused = get(alice, running(alice), "?kind=input")

    assert (refused.status_code, error_of(refused)["param"]) == (400, "kind")


def test_a_strangers_batch_is_not_found(alice: Person, charlie: Person) -> None:
    batch = running(alice)
    finish(batch, 0)

    refused = get(charlie, batch)

    assert (refused.status_code, error_of(refused)["code"]) == (404, "batch_not_found")


SOME = st.sets(st.integers(0, LINES - 1))


@given(done=SOME, answered=SOME, kind=st.sampled_from(KINDS), read=st.integers(0, 12))
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_batch_that_ends_meanwhile_doubles_and_loses_nothing(
    alice: Person, *, done: set[int], answered: set[int], kind: str, read: int
) -> None:
    batch = running(alice)
    finish(batch, *done, kind=kind)

    response = get(alice, batch, f"?kind={kind}")
    blocks: Iterator[bytes] = iter(response.streaming_content)
    body = b"".join(islice(blocks, read))
    finish(batch, *(answered - done))
    finish(batch, *({*range(LINES)} - done - answered), kind=ERROR)
    assert assemble.assemble(batch.pk)
    assert storage.names_in(storage.parts_folder(batch.pk)) == []
    body += b"".join(blocks)

    assert body == joined(done, kind)
    assert int(response["Content-Length"]) == len(body)


def test_a_part_that_breaks_off_goes_on_in_the_final_file(alice: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = running(alice)
    finish(batch, 0, 2, 4, 5)
    response = get(alice, batch)
    finish(batch, 1, 3)
    monkeypatch.setattr(storage, "clear", lambda _: None)  # the parts stay, and end too early
    assert assemble.assemble(batch.pk)
    folder = storage.parts_folder(batch.pk)
    for name in storage.names_in(folder):
        with storage.open_object(f"{folder}/{name}") as part:
            begun = part.read(20)
        storage.store_bytes(f"{folder}/{name}", begun)

    assert response.getvalue() == joined([0, 2, 4, 5])


@pytest.mark.django_db(transaction=True)
def test_no_connection_to_postgres_is_held_while_bytes_go_out(alice: Person) -> None:
    batch = running(alice)
    finish(batch, *range(LINES))

    response = get(alice, batch)
    assert connection.connection is None
    blocks = iter(response.streaming_content)
    body = next(blocks)
    assert assemble.assemble(batch.pk)
    connection.close()
    for block in blocks:
        assert connection.connection is None
        body += block

    assert body == joined(range(LINES))
    final = get(alice, batch)
    assert connection.connection is None
    assert final.getvalue() == body


def test_a_part_that_is_missing_breaks_the_answer_off(alice: Person) -> None:
    batch = running(alice)
    finish(batch, 0, 1)
    first, second = Chunk.objects.filter(batch=batch, index__lt=2).order_by("index")
    storage.remove(storage.part_key(batch.pk, 1, second.epoch, OUTPUT))
    broken = get(alice, batch)
    storage.remove(storage.part_key(batch.pk, 0, first.epoch, OUTPUT))

    with pytest.raises(StorageError):
        broken.getvalue()
    assert error_of(get(alice, batch))["code"] == "storage_error"
