"""What a project may have at most, and what it has spent (wire.md §10)."""

import re
import threading
from datetime import date, timedelta
from typing import Any

import hypothesis
import pytest
from django import test
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.utils import timezone
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from rest_framework.test import APIClient

from apps.batches import leases, lifecycle, sweeps, usage
from apps.batches.models import Batch, Chunk, DailyUsage, Tally
from apps.batches.pipeline import assemble, run
from apps.batches.states import UNFINISHED, ChunkState
from apps.files import in_parts, uploads
from apps.files import quota as file_quota
from apps.files.models import File, Upload, UploadStatus
from apps.inference.usage import Usage
from apps.observability import metrics
from apps.projects import rates
from apps.projects.limits import Limit
from apps.projects.models import Project
from tests.conftest import Person, create_batch, error_of, jsonl, line, person_of, upload, uploaded
from tests.fakes.upstream import FakeUpstream
from tests.integration.conftest import ask, new_batch, results, run_batch, run_chunks, text_of

pytestmark = pytest.mark.django_db

TOKENS = 12
"""Of an answer of the fake upstream."""
LINES = jsonl([line("a"), line("b"), line("c")])


def limit(person: Person, **most: int | None) -> None:
    Project.objects.filter(pk=person.project.pk).update(**{f"max_{name}": number for name, number in most.items()})


def limits_of(person: Person) -> dict[str, Any]:
    response = person.client.get("/v1/limits")
    assert response.status_code == 200
    return dict(response.json())


def used(person: Person) -> dict[str, int]:
    return {name: row["used"] for name, row in limits_of(person).items() if name != "object"}


def refusals(name: Limit) -> float:
    told = re.search(rf'limit_refusals_total{{limit="{name.value}"}} (\S+)', metrics.of_worker().decode())
    assert told
    return float(told[1])


def spend(person: Person, tokens: int, day: date | None = None) -> None:
    DailyUsage.objects.create(project=person.project, day=day or timezone.now().date(), model="m", total_tokens=tokens)


def begin_upload(person: Person, size: int) -> Any:
    body = {"bytes": size, "filename": "a", "mime_type": "t", "purpose": "batch"}
    return person.client.post("/v1/uploads", body, format="json")


@pytest.mark.parametrize(
    ("most", "expected"),
    [
        ({"enqueued_lines": 2}, {"limit_name": "enqueued_lines", "used": 0, "limit": 2, "needed": 3}),
        ({"batches_in_progress": 0}, {"limit_name": "batches_in_progress", "used": 0, "limit": 0, "needed": 1}),
        ({"tokens": 5}, {"limit_name": "tokens", "used": 5, "limit": 5, "needed": 1}),
        ({"tokens_this_month": 4}, {"limit_name": "tokens_this_month", "used": 5, "limit": 4, "needed": 1}),
    ],
)
def test_a_batch_over_a_limit_is_refused_and_stores_nothing(
    alice: Person, most: dict[str, int], expected: dict[str, Any]
) -> None:
    spend(alice, 5)
    file_id = uploaded(alice, LINES)
    limit(alice, **most)

    response = create_batch(alice, file_id)

    error = error_of(response)
    assert (response.status_code, error["type"], error["code"]) == (429, "insufficient_quota", "insufficient_quota")
    assert expected.items() <= error.items()
    for number in (expected["used"], expected["limit"], expected["needed"]):
        assert str(number) in error["message"]
    assert response["x-should-retry"] == "false"
    assert not Batch.objects.exists()
    assert File.objects.get().readers == 0


def test_what_just_fits_is_taken(alice: Person) -> None:
    limit(alice, enqueued_lines=3, batches_in_progress=1, tokens=1, tokens_this_month=1, stored_bytes=len(LINES))

    assert create_batch(alice, uploaded(alice, LINES)).status_code == 200


def test_a_file_over_the_limit_is_refused_and_leaves_nothing(alice: Person, tmp_path: Any) -> None:
    limit(alice, stored_bytes=len(LINES) + 10)
    stored = uploaded(alice, LINES)

    refused = upload(alice, LINES)

    assert (refused.status_code, error_of(refused)["limit_name"]) == (429, "stored_bytes")
    assert error_of(refused)["needed"] == len(LINES)
    assert [file.pk for file in File.objects.all()] == [stored]
    assert len([path for path in (tmp_path / "storage").rglob("*") if path.is_file()]) == 1
    assert alice.client.delete(f"/v1/files/{stored}").status_code == 200
    assert upload(alice, LINES).status_code == 200, "its bytes are free again"


def test_an_upload_in_parts_takes_its_room_when_it_begins(alice: Person) -> None:
    limit(alice, stored_bytes=100)
    begun = begin_upload(alice, 60).json()

    refused = begin_upload(alice, 60)

    assert (refused.status_code, error_of(refused)["used"]) == (429, 60)
    alice.client.post(f"/v1/uploads/{begun['id']}/cancel")
    assert begin_upload(alice, 60).status_code == 200


def test_an_upload_in_parts_takes_little_more_than_it_announced(alice: Person) -> None:
    limit(alice, stored_bytes=1_000)
    begun = begin_upload(alice, 100).json()
    path = f"/v1/uploads/{begun['id']}/parts"

    parts = [{"data": SimpleUploadedFile("a", b"x" * 100)} for _ in range(4)]
    sent = [alice.client.post(path, part, format="multipart") for part in parts]

    assert [answer.status_code for answer in sent] == [200, 200, 200, 400], "a part may be sent again, and again"
    assert used(alice)["stored_bytes"] == 300


def test_each_sum_is_one_look(alice: Person, django_assert_num_queries: Any) -> None:
    """What moves from one table to another between two looks would be in both, or in neither."""
    with django_assert_num_queries(1):
        usage.tokens(alice.project)
    with django_assert_num_queries(1):
        file_quota.stored_bytes(alice.project)


def test_settings_hold_for_projects_without_limits_of_their_own(alice: Person, charlie: Person, settings: Any) -> None:
    settings.PROJECT_LIMITS = {**settings.PROJECT_LIMITS, "enqueued_lines": 2}
    limit(charlie, enqueued_lines=3)

    assert create_batch(alice, uploaded(alice, LINES)).status_code == 429
    assert create_batch(charlie, uploaded(charlie, LINES)).status_code == 200


def test_refusals_are_counted(alice: Person) -> None:
    before = refusals(Limit.ENQUEUED_LINES)
    file_id = uploaded(alice, LINES)
    limit(alice, enqueued_lines=1)

    create_batch(alice, file_id)

    assert refusals(Limit.ENQUEUED_LINES) == before + 1


@pytest.mark.django_db(transaction=True)
def test_each_ending_frees_what_the_batch_used(alice: Person, upstream: FakeUpstream) -> None:
    batches = {name: new_batch(alice, [ask("echo", f"{n}") for n in range(3)]) for name in ("run", "cancel", "expire")}
    assert (used(alice)["batches_in_progress"], used(alice)["enqueued_lines"]) == (3, 9)

    lifecycle.cancel(batches["cancel"])
    Batch.objects.filter(pk=batches["expire"].pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    assert used(alice)["enqueued_lines"] == 9, "they have not ended yet"
    ended = [run_batch(batch).status for batch in batches.values()]

    assert ended == ["completed", "cancelled", "expired"]
    assert (used(alice)["batches_in_progress"], used(alice)["enqueued_lines"]) == (0, 0)
    create_batch(alice, uploaded(alice, b"bad"))
    assert used(alice)["batches_in_progress"] == 0, "a rejected input uses nothing"


@pytest.mark.django_db(transaction=True)
def test_of_many_batches_at_once_only_those_that_fit_are_made(alice: Person) -> None:
    files = [uploaded(alice, LINES) for _ in range(8)]
    limit(alice, enqueued_lines=10)
    statuses: list[int] = []
    begin = threading.Barrier(len(files))

    def create(file_id: str) -> None:
        client = APIClient()
        client.credentials(HTTP_X_API_KEY=alice.secret)
        begin.wait()
        statuses.append(create_batch(alice._replace(client=client), file_id).status_code)
        connection.close()

    threads = [threading.Thread(target=create, args=(file_id,)) for file_id in files]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(statuses) == [200] * 3 + [429] * 5
    assert used(alice)["enqueued_lines"] == 9


@pytest.mark.django_db(transaction=True)
def test_a_budget_that_runs_out_ends_the_lines_that_were_not_sent(alice: Person, upstream: FakeUpstream) -> None:
    batch = new_batch(alice, [ask("echo", f"{n}") for n in range(250)])
    limit(alice, tokens=100 * TOKENS)
    first, second, third = batch.chunks.order_by("index")
    run.run(first.pk)
    assert used(alice)["tokens"] == 100 * TOKENS

    run.run(second.pk)
    run.run(third.pk)
    assemble.assemble(batch.pk)

    batch.refresh_from_db()
    assert (batch.status, batch.completed, batch.failed) == ("completed", 100, 150)
    assert batch.error_file_id is not None
    errors = results(alice, batch.error_file_id)
    assert {row["error"]["code"] for row in errors.values()} == {"insufficient_quota"}
    assert len(upstream.count_by_request_id) == 100, "the rest was never sent"
    assert create_batch(alice, uploaded(alice, LINES)).status_code == 429


def test_pending_chunks_of_a_spent_project_are_written_off_without_a_worker(alice: Person, charlie: Person) -> None:
    spent, waiting = new_batch(alice, [ask("echo", "1")]), new_batch(charlie, [ask("echo", "1")])
    limit(alice, tokens=0)
    limit(charlie, tokens=1)

    assert sweeps.overdue() == [spent.pk]
    assert waiting.chunks.get().state == ChunkState.PENDING


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("ending", ["run", "cancel", "expire"])
def test_lines_whose_model_is_an_empty_text_have_an_end(alice: Person, upstream: FakeUpstream, ending: str) -> None:
    batch = new_batch(alice, [ask("", "1"), ask("", "2")])
    if ending == "cancel":
        lifecycle.cancel(batch)
    if ending == "expire":
        Batch.objects.filter(pk=batch.pk).update(expires_at=timezone.now())

    ended = run_batch(batch)

    assert ended.status == {"run": "completed", "cancel": "cancelled", "expire": "expired"}[ending]
    assert ended.completed + ended.failed == 2


def test_running_chunks_count_as_their_heartbeats_say(alice: Person, upstream: FakeUpstream) -> None:
    batch = new_batch(alice, [ask("echo", f"{n}") for n in range(3)])
    chunk = batch.chunks.get()
    Chunk.objects.filter(pk=chunk.pk).update(state=ChunkState.RUNNING, total_tokens=30)

    assert (used(alice)["tokens"], used(alice)["tokens_this_month"]) == (30, 30)


def test_last_month_counts_for_the_total_only(alice: Person) -> None:
    first = timezone.now().date().replace(day=1)
    spend(alice, 7, first - timedelta(days=1))
    spend(alice, 5, first)

    assert (used(alice)["tokens"], used(alice)["tokens_this_month"]) == (12, 5)


@pytest.mark.django_db(transaction=True)
def test_usage_is_told_by_day_and_model(alice: Person, charlie: Person, upstream: FakeUpstream) -> None:
    run_batch(new_batch(alice, [ask("echo", "1"), ask("other", "2"), ask("echo", "3"), ask("status-400", "4")]))
    spend(alice, 9, timezone.now().date() - timedelta(days=3))

    rows = alice.client.get("/v1/usage").json()

    today = timezone.now().date().isoformat()
    told = [(row["date"], row["model"], row["requests"], row["total_tokens"]) for row in rows["data"]]
    assert told[:2] == [(today, "echo", 2, 2 * TOKENS), (today, "other", 1, TOKENS)]
    assert told[2][1:] == ("m", 0, 9)
    assert rows["data"][0]["input_tokens_details"] == {"cached_tokens": 4}
    assert charlie.client.get("/v1/usage").json() == {"object": "list", "data": [], "has_more": False}
    assert alice.client.get("/v1/usage?limit=1").json()["has_more"] is True
    yesterday = (timezone.now().date() - timedelta(days=1)).isoformat()
    assert len(alice.client.get(f"/v1/usage?end_date={yesterday}").json()["data"]) == 1


def test_models_that_postgres_cannot_keep_are_counted_all_the_same(alice: Person) -> None:
    one = Usage(total_tokens=1)
    spent = [usage.Spent("a\x00", 1, one), usage.Spent("a\ufffd", 1, one), usage.Spent(None, 1, one)]
    batch = new_batch(alice, [ask("echo", "1")])
    claim = leases.claim(batch.chunks.get().pk)
    assert claim

    for _ in range(2):  # the first one's answer was lost
        spent_by_all = [*spent, usage.Spent("x" * 300, 1, one)]
        assert leases.commit(claim, Tally(1), spent_by_all, halted="", output_bytes=1, error_bytes=0)

    names = DailyUsage.objects.order_by("model").values_list("model", "requests")
    assert list(names) == [("", 1), ("a\ufffd", 2), ("x" * 256, 1)]


@pytest.mark.parametrize(
    "query", ["start_date=today", "start_date=", "start_date=20260131",
              "end_date=2026-02-30", "start_date=2026-02-02&end_date=2026-02-01", "limit=0",
              "start_date=2020-01-01&end_date=2026-01-01"],
)  # fmt: skip
def test_days_that_are_none_are_refused(alice: Person, query: str) -> None:
    response = alice.client.get(f"/v1/usage?{query}")

    assert response.status_code == 400
    assert error_of(response)["param"] == query.partition("=")[0]


def test_the_first_day_of_all_is_no_error(alice: Person) -> None:
    assert alice.client.get("/v1/usage?end_date=0001-01-01").status_code == 200


def test_too_many_requests_in_a_minute(alice: Person, bob: Person, charlie: Person) -> None:
    limit(alice, requests_per_minute=3)

    answers = [person.client.get("/v1/files") for person in (alice, bob, alice, bob)]

    assert [answer.status_code for answer in answers] == [200, 200, 200, 429], "the project's keys share one limit"
    left = [int(answer["x-ratelimit-remaining-requests"]) for answer in answers]
    assert left == [2, 1, 0, 0]
    assert {answer["x-ratelimit-limit-requests"] for answer in answers} == {"3"}
    assert error_of(answers[-1])["code"] == "rate_limit_exceeded"
    assert 1 <= int(answers[-1]["Retry-After"]) <= 60
    assert answers[-1]["x-ratelimit-reset-requests"].removesuffix("s") == answers[-1]["Retry-After"]
    assert charlie.client.get("/v1/files").status_code == 200
    limit(alice, requests_per_minute=None)
    free = alice.client.get("/v1/files")
    assert free.status_code == 200
    assert "x-ratelimit-limit-requests" not in free


def test_no_request_at_all(alice: Person) -> None:
    limit(alice, requests_per_minute=0)

    assert alice.client.get("/v1/files").status_code == 429


def test_while_redis_is_away_nobody_is_refused(alice: Person, settings: Any) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1"
    rates.limiter.cache_clear()
    limit(alice, requests_per_minute=1)

    try:
        assert [alice.client.get("/v1/files").status_code for _ in range(3)] == [200] * 3
        assert limits_of(alice)["requests_per_minute"]["used"] is None
    finally:
        rates.limiter.cache_clear()


def test_what_is_told_of_a_limit(alice: Person) -> None:
    limit(alice, requests_per_minute=9, enqueued_lines=2, stored_bytes=10)
    spend(alice, 4)

    told = limits_of(alice)

    assert told["requests_per_minute"] == {"used": 1, "limit": 9, "remaining": 8}
    assert told["enqueued_lines"] == {"used": 0, "limit": 2, "remaining": 2}
    assert told["tokens"] == {"used": 4, "limit": None, "remaining": None}
    assert set(told) == {"object", *Limit.values}


def test_members_see_limits_and_usage(alice: Person, member: test.Client) -> None:
    limit(alice, enqueued_lines=0)
    spend(alice, 1_234)

    page = text_of(member, "/console/usage")

    assert "lines in batches that have not ended" in page
    assert "nothing" in page
    assert "1,234" in page


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["create", "cancel", "run", "assemble", "expire", "delete", "begin", "end"]), st.integers(0, 9)
    ),
    max_size=25,
)


class Story:
    """What happens to one project's rows."""

    def __init__(self, person: Person) -> None:
        self.person = person
        limit(person, enqueued_lines=12, batches_in_progress=4, stored_bytes=3_000, tokens=30 * TOKENS)

    def create(self, number: int) -> None:
        stored = upload(self.person, jsonl([ask("echo", f"{n}") for n in range(number + 1)]))
        if stored.status_code == 200:
            create_batch(self.person, stored.json()["id"])

    def cancel(self, number: int) -> None:
        for batch in self._open_batch(number):
            lifecycle.cancel(batch)

    def run(self, number: int) -> None:
        for batch in self._open_batch(number):
            run_chunks(batch)

    def assemble(self, number: int) -> None:
        for batch in self._open_batch(number):
            assemble.assemble(batch.pk)

    def expire(self, number: int) -> None:
        for batch in self._open_batch(number):
            Batch.objects.filter(pk=batch.pk).update(expires_at=timezone.now())

    def delete(self, number: int) -> None:
        for file in self._one(File.objects.live(), number):
            uploads.delete(file)

    def begin(self, number: int) -> None:
        begin_upload(self.person, number * 300 + 1)

    def end(self, number: int) -> None:
        for begun in self._one(Upload.objects.open(), number):
            in_parts.cancel(begun)

    def _open_batch(self, number: int) -> list[Batch]:
        return self._one(Batch.objects.filter(status__in=UNFINISHED), number)

    def _one(self, rows: Any, number: int) -> list[Any]:
        mine = list(rows.filter(project=self.person.project).order_by("pk"))
        return [mine[number % len(mine)]] if mine else []

    def check(self) -> None:
        mine = {"project": self.person.project}
        batches = list(Batch.objects.filter(**mine))
        unfinished = [batch for batch in batches if batch.status in UNFINISHED]
        chunks = [chunk for batch in unfinished for chunk in batch.chunks.exclude(state=ChunkState.PENDING)]
        files = [file for file in File.objects.filter(**mine) if file.object_removed_at is None]
        pending = Upload.objects.filter(**mine, status=UploadStatus.PENDING)
        told = used(self.person)
        assert told["batches_in_progress"] == len(unfinished) <= 4
        assert told["enqueued_lines"] == sum(batch.total for batch in unfinished) <= 12
        assert told["stored_bytes"] == sum(file.bytes for file in files) + sum(each.bytes for each in pending)
        ended = sum(batch.total_tokens for batch in batches if batch.status not in UNFINISHED)
        assert told["tokens"] == ended + sum(chunk.total_tokens for chunk in chunks)


@pytest.mark.django_db(transaction=True)
@given(steps=STEPS)
@hypothesis.settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
def test_limits_never_drift(upstream: FakeUpstream, steps: list[tuple[str, int]]) -> None:
    """Whatever happens in whatever order, what a project is told is what a count of its rows gives."""
    story = Story(person_of(Project.objects.create(name="a story"), "somebody"))

    for step, number in steps:
        getattr(story, step)(number)
        story.check()
