"""A new batch of the lines that failed for a passing reason."""

from typing import Any

import pytest
from django.utils import timezone

from apps.api.errors import Conflict, NotFound
from apps.batches import lifecycle
from apps.batches.codes import CANCELLED, PASSING
from apps.batches.models import Batch
from apps.batches.pipeline.retry import Retry, retry
from apps.batches.states import BatchStatus
from apps.files import storage
from apps.files.models import File
from tests.conftest import Person, jsonl
from tests.fakes.upstream import FakeUpstream
from tests.integration.conftest import ask, new_batch, run_batch

pytestmark = pytest.mark.django_db(transaction=True)


def input_of(batch: Batch) -> bytes:
    with storage.open_object(batch.input_file.object_key) as stored:
        return stored.read()


@pytest.fixture
def mixed(alice: Person, upstream: FakeUpstream, settings: Any) -> Batch:
    """Ended; two lines failed for a passing reason, one for its own fault, one succeeded."""
    settings.INFERENCE_MAX_ATTEMPTS = 1
    lines = [ask("echo", "good"), ask("status-500", "x" * 100), ask("status-400", "own fault"), ask("garbage")]
    return run_batch(new_batch(alice, lines))


def test_only_lines_that_failed_for_a_passing_reason_are_sent_again(mixed: Batch, alice: Person) -> None:
    again = retry(Retry(mixed, alice.key))

    assert again.status == BatchStatus.IN_PROGRESS
    assert again.metadata == {"retry_of": mixed.pk}
    assert again.total == 2
    assert input_of(again) == jsonl([ask("status-500", "x" * 100), ask("garbage")])


def test_a_batch_without_such_lines_is_not_retried(alice: Person, upstream: FakeUpstream) -> None:
    done = run_batch(new_batch(alice, [ask("echo"), ask("status-400")]))

    with pytest.raises(Conflict) as refused:
        retry(Retry(done, alice.key))
    assert refused.value.code == "batch_not_retryable"


def test_a_batch_that_runs_is_not_retried(alice: Person) -> None:
    with pytest.raises(Conflict):
        retry(Retry(new_batch(alice, [ask("echo")]), alice.key))


def test_cancelled_lines_are_sent_again_only_when_asked_for(alice: Person, upstream: FakeUpstream) -> None:
    batch = new_batch(alice, [ask("echo", "a"), ask("echo", "b")])
    lifecycle.cancel(batch)
    cancelled = run_batch(batch)

    with pytest.raises(Conflict):
        retry(Retry(cancelled, alice.key))
    assert retry(Retry(cancelled, alice.key, codes=PASSING | {CANCELLED})).total == 2


def test_an_input_past_its_expiry_is_gone_before_a_sweep_removes_it(mixed: Batch, alice: Person) -> None:
    File.objects.filter(pk=mixed.input_file_id).update(expires_at=timezone.now())

    with pytest.raises(NotFound):
        retry(Retry(mixed, alice.key))


def test_a_batch_whose_input_is_gone_is_not_retried(mixed: Batch, alice: Person) -> None:
    assert alice.client.delete(f"/v1/files/{mixed.input_file_id}").status_code == 200

    with pytest.raises(NotFound):
        retry(Retry(mixed, alice.key))
