"""Retrieve, list and cancel batches (wire.md §7)."""

from typing import Any

import pytest
from openai.types import Batch as SdkBatch

from apps.batches import lifecycle
from apps.batches.models import Batch
from apps.batches.states import BatchStatus
from tests.conftest import Person, error_of, line
from tests.integration.conftest import new_batch

pytestmark = pytest.mark.django_db


def test_our_batch_is_the_sdks_batch(alice: Person) -> None:
    batch = new_batch(alice, [line()])

    body = alice.client.get(f"/v1/batches/{batch.pk}").json()

    assert set(SdkBatch.model_fields) <= set(body)
    SdkBatch.model_validate(body, strict=True)


def test_the_list_is_newest_first_and_pages(alice: Person) -> None:
    ids = [new_batch(alice, [line()]).pk for _ in range(3)]

    first = alice.client.get("/v1/batches?limit=2").json()
    second = alice.client.get(f"/v1/batches?limit=2&after={first['last_id']}").json()

    assert [row["id"] for row in first["data"]] == [ids[2], ids[1]]
    assert (first["first_id"], first["last_id"], first["has_more"]) == (ids[2], ids[1], True)
    assert [row["id"] for row in second["data"]] == [ids[0]]
    assert second["has_more"] is False


@pytest.mark.parametrize(
    ("limit", "expected"), [(None, 20), ("0", 1), ("-3", 1), ("1", 1), ("22", 22), ("1000", 23), ("9" * 30, 23)]
)
def test_the_limit_is_clamped(alice: Person, limit: str | None, expected: int) -> None:
    batch = new_batch(alice, [line()])
    Batch.objects.bulk_create(
        Batch(project=alice.project, input_file_id=batch.input_file_id, endpoint="x", expires_at=batch.expires_at)
        for _ in range(22)
    )

    page = alice.client.get("/v1/batches", {"limit": limit} if limit else {}).json()

    assert len(page["data"]) == expected


@pytest.mark.parametrize("limit", ["abc", "1.5", "9" * 1001])
def test_a_limit_that_is_no_integer_is_refused(alice: Person, limit: str) -> None:
    response = alice.client.get("/v1/batches", {"limit": limit})

    assert response.status_code == 400
    assert error_of(response)["code"] == "invalid_limit"


def test_a_page_of_batches_costs_four_queries(alice: Person, django_assert_max_num_queries: Any) -> None:
    for _ in range(5):
        new_batch(alice, [line()])

    with django_assert_max_num_queries(4):  # the key, the batches, their live counts, why they wait
        alice.client.get("/v1/batches")


@pytest.mark.parametrize("batch_id", ["batch_unknown", "x" * 3_000, "batch_%00", "file-1", "😀"])
def test_a_bad_id_is_not_found(alice: Person, batch_id: str) -> None:
    for response in (alice.client.get(f"/v1/batches/{batch_id}"), alice.client.post(f"/v1/batches/{batch_id}/cancel")):
        assert response.status_code == 404
        assert error_of(response)["code"] == "batch_not_found"
        assert error_of(response)["message"].startswith("Batch not found: ")


def test_bob_sees_alices_batch_and_charlie_does_not(alice: Person, bob: Person, charlie: Person) -> None:
    batch = new_batch(alice, [line()])

    assert bob.client.get(f"/v1/batches/{batch.pk}").status_code == 200
    assert charlie.client.get("/v1/batches").json()["data"] == []
    for call in (
        charlie.client.get(f"/v1/batches/{batch.pk}"),
        charlie.client.post(f"/v1/batches/{batch.pk}/cancel"),
        charlie.client.get(f"/v1/batches?after={batch.pk}"),
    ):
        assert call.status_code == 404
        assert error_of(call)["message"] == f"Batch not found: {batch.pk}"
    assert Batch.objects.get(pk=batch.pk).status == BatchStatus.IN_PROGRESS


def test_cancel_is_at_once_and_idempotent(alice: Person) -> None:
    batch = new_batch(alice, [line()])

    first = alice.client.post(f"/v1/batches/{batch.pk}/cancel")
    again = alice.client.post(f"/v1/batches/{batch.pk}/cancel")

    assert first.status_code == again.status_code == 200
    assert first.json()["status"] == "cancelling"
    assert first.json()["cancelling_at"] == again.json()["cancelling_at"] is not None


@pytest.mark.parametrize("status", [BatchStatus.COMPLETED, BatchStatus.FAILED, BatchStatus.EXPIRED])
def test_an_ended_batch_cannot_be_cancelled(alice: Person, status: BatchStatus) -> None:
    batch = new_batch(alice, [line()])
    Batch.objects.update(status=status)

    response = alice.client.post(f"/v1/batches/{batch.pk}/cancel")

    assert response.status_code == 409
    assert error_of(response)["code"] == "batch_not_cancellable"


def test_a_cancelled_batch_stays_cancelled(alice: Person) -> None:
    batch = new_batch(alice, [line()])
    Batch.objects.update(status=BatchStatus.CANCELLED)

    assert alice.client.post(f"/v1/batches/{batch.pk}/cancel").json()["status"] == "cancelled"


def test_a_terminal_batch_never_moves(alice: Person) -> None:
    batch = new_batch(alice, [line()])
    Batch.objects.update(status=BatchStatus.COMPLETED)

    assert not any(lifecycle.move(batch.pk, target) for target in BatchStatus if target != BatchStatus.VALIDATING)
