"""What an operator sees and does in the admin: the dashboard, the lists, actions that ask first."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.admin.utils import quote
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from apps.batches import leases, sweeps, tasks, workers
from apps.batches.models import Batch, Chunk, Sweep, Worker
from apps.batches.outcomes import COMPLETED, MINUTES, MOST_CODES, Outcomes
from apps.batches.states import BatchStatus, ChunkState
from apps.operations import board, troubles
from apps.projects.models import ApiKey, Project
from apps.upstreams.models import Upstream
from tests.conftest import Person, line
from tests.fakes.upstream import FakeUpstream
from tests.integration.conftest import ask, new_batch, run_batch, run_chunks, text_of
from zerobatch.schedule import BEAT_SCHEDULE

pytestmark = pytest.mark.django_db

Sent = list[tuple[str, str]]
Opens = Callable[..., Batch]
BATCHES, CHUNKS = "/admin/batches/batch/", "/admin/batches/chunk/"


@pytest.fixture
def admin() -> Iterator[Client]:
    board.read.forget()
    client = Client()
    client.force_login(User.objects.create_superuser("operator"))
    yield client
    board.read.forget()


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """(task, batch) of the messages that went out."""
    found: list[tuple[str, str]] = []
    for task in (tasks.start, tasks.write_off, tasks.finalize):
        monkeypatch.setattr(task, "delay", lambda batch_id, name=task.name: found.append((name, batch_id)))
    monkeypatch.setattr(tasks, "on_commit", lambda send: send())
    return found


@pytest.fixture
def open_batch(sent: Sent) -> Callable[..., Batch]:
    """Creates one; the message of its start is none that a test looks at."""

    def create(person: Person, lines: list[dict[str, Any]]) -> Batch:
        batch = new_batch(person, lines)
        sent.clear()
        return batch

    return create


def act(client: Client, url: str, action: str, *keys: Any, **more: Any) -> str:
    """The confirmation page, after whose button what follows it."""
    form = {"action": action, "_selected_action": [str(key) for key in keys]}
    asked = client.post(url, form)
    assert asked.status_code == 200
    assert "This is what will happen" in asked.content.decode()
    done = client.post(url, form | {"confirmed": action, **more}, follow=True)
    assert done.status_code == 200
    return asked.content.decode()


def said(obj: Any) -> list[str]:
    """What the audit log has of an object."""
    return list(LogEntry.objects.filter(object_id=str(obj.pk)).values_list("change_message", flat=True))


def running_without_a_lease(batch: Batch) -> Chunk:
    """What somebody's UPDATE by hand has left."""
    chunk = Chunk.objects.filter(batch=batch).earliest("index")
    Chunk.objects.filter(pk=chunk.pk).update(state=ChunkState.RUNNING, lease_expires_at=None, epoch=1, owner="psql")
    return chunk


@pytest.mark.django_db(transaction=True)
def test_a_chunk_broken_by_hand_is_found_on_the_dashboard_and_mended_by_resume(
    admin: Client, alice: Person, upstream: FakeUpstream, sent: Sent, open_batch: Opens
) -> None:
    batch = open_batch(alice, [line()])
    chunk = running_without_a_lease(batch)
    sweeps.resume(lambda _: True)
    chunk.refresh_from_db()
    assert chunk.state == ChunkState.RUNNING  # no sweep brings it back

    assert "1 chunk is broken by hand" in text_of(admin, "/admin/")
    assert batch.pk in text_of(admin, f"{CHUNKS}?trouble=broken")
    assert "1 broken chunk" in text_of(admin, f"{BATCHES}{quote(batch.pk)}/change/")
    asked = act(admin, BATCHES, "resume", batch.pk)

    assert "go back to pending: 1 broken" in asked
    assert sent == [("batches.start", batch.pk)]
    assert said(batch) == ["Resumed; chunks taken back: 1."]
    assert run_batch(batch).status == BatchStatus.COMPLETED


def test_a_chunk_that_is_taken_back_is_lost_to_its_worker_and_one_that_is_done_is_not_touched(
    admin: Client, alice: Person, upstream: FakeUpstream, sent: Sent, open_batch: Opens
) -> None:
    batch = open_batch(alice, [line(f"line-{number}") for number in range(101)])
    done, held = Chunk.objects.filter(batch=batch).order_by("index")
    Chunk.objects.filter(pk=done.pk).update(state=ChunkState.DONE, epoch=1)
    claim = leases.claim(held.pk)
    assert claim is not None

    act(admin, CHUNKS, "take_back", done.pk, held.pk)

    assert leases.renew([leases.Beat(held.pk, claim.epoch, 0, 0)]) == []
    assert not leases.release(claim)
    states = Chunk.objects.filter(batch=batch).order_by("index").values_list("state", flat=True)
    assert list(states) == [ChunkState.DONE, ChunkState.PENDING]
    assert sent == [("batches.start", batch.pk)]
    assert said(held) == ["Taken back from 'running', epoch 1."]


def test_a_cancel_asks_first_and_says_how_many_lines_it_costs(
    admin: Client, alice: Person, sent: Sent, open_batch: Opens
) -> None:
    batch = open_batch(alice, [line("a"), line("b")])

    asked = act(admin, BATCHES, "cancel", batch.pk)

    assert "1 of 1 can be cancelled" in asked
    assert "Up to 2 lines become batch_cancelled" in asked
    assert Batch.objects.get().status == BatchStatus.CANCELLING
    assert sent == [("batches.write_off", batch.pk)]
    assert said(batch) == ["Cancelled."]


def test_a_deadline_is_extended_and_never_shortened(admin: Client, alice: Person) -> None:
    batch = new_batch(alice, [line()])
    Batch.objects.update(expires_at=timezone.now() + timedelta(minutes=1))

    act(admin, BATCHES, "extend", batch.pk, hours="48")
    extended = Batch.objects.get().expires_at
    act(admin, BATCHES, "extend", batch.pk, hours="1")

    assert extended - timezone.now() > timedelta(hours=47)
    assert Batch.objects.get().expires_at == extended
    assert said(batch) == ["Deadline extended to 48 h from now."]
    refused = admin.post(BATCHES, {"action": "extend", "_selected_action": batch.pk, "confirmed": "extend", "hours": 0})
    assert "greater than or equal to 1" in refused.content.decode()


def test_an_assembly_can_be_asked_for(admin: Client, alice: Person, sent: Sent, open_batch: Opens) -> None:
    batch = open_batch(alice, [line()])

    asked = act(admin, BATCHES, "assemble", batch.pk)

    assert "1 of them have chunks that are not done" in asked
    assert sent == [("batches.finalize", batch.pk)]
    assert said(batch) == ["Asked for its assembly."]


def test_all_batches_of_a_project_are_cancelled_and_no_others(
    admin: Client, alice: Person, charlie: Person, sent: Sent, open_batch: Opens
) -> None:
    mine, other = [open_batch(alice, [line()]) for _ in range(2)], open_batch(charlie, [line()])

    asked = act(admin, "/admin/projects/project/", "cancel_batches", alice.project.pk)

    assert "2 batches are cancelled." in asked
    assert "0 of their 2 lines have a result" in asked
    assert sorted(sent) == sorted(("batches.write_off", batch.pk) for batch in mine)
    assert Batch.objects.get(pk=other.pk).status == BatchStatus.IN_PROGRESS
    assert said(alice.project) == ["Cancelled 2 open batches."]


def test_who_may_only_look_is_offered_no_action_and_refused_one(alice: Person, sent: Sent, open_batch: Opens) -> None:
    looker = User.objects.create_user("looker", is_staff=True)
    looker.user_permissions.add(Permission.objects.get(codename="view_batch"))
    client, batch = Client(), open_batch(alice, [line()])
    client.force_login(looker)

    client.post(BATCHES, {"action": "cancel", "confirmed": "cancel", "_selected_action": [batch.pk]})

    assert Batch.objects.get().status == BatchStatus.IN_PROGRESS
    assert 'value="Cancel"' not in text_of(client, f"{BATCHES}{quote(batch.pk)}/change/")
    assert sent == []


def test_an_action_leads_back_to_its_page_and_nowhere_else(
    admin: Client, alice: Person, sent: Sent, open_batch: Opens
) -> None:
    batch = open_batch(alice, [line()])
    form = {"action": "resume", "confirmed": "resume", "_selected_action": [batch.pk]}

    back = admin.post(BATCHES, form | {"back": f"{BATCHES}{quote(batch.pk)}/change/"})
    away = admin.post(BATCHES, form | {"back": "https://example.com/"})

    assert back["Location"] == f"{BATCHES}{quote(batch.pk)}/change/"
    assert away["Location"] == BATCHES


def test_a_batch_whose_id_looks_escaped_has_a_page_and_links_that_lead_to_it(admin: Client, alice: Person) -> None:
    """The admin takes `_22` in a URL for a quotation mark, and ids are hexadecimal."""
    template = new_batch(alice, [line()])
    batch = Batch.objects.get(pk=template.pk)
    batch.pk = "batch_22" + "a" * 22
    batch.save(force_insert=True)
    Chunk.objects.filter(batch=template).update(batch=batch)
    page = f"{BATCHES}batch_5F22{'a' * 22}/change/"

    assert f'href="{page}"' in text_of(admin, CHUNKS)
    assert f'value="{page}"' in text_of(admin, page)
    assert "its chunk is pending" in text_of(admin, page.replace("change", "line") + "?custom_id=request-1")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("ended", [False, True], ids=["running", "ended"])
def test_a_line_is_found_by_its_custom_id(admin: Client, alice: Person, upstream: FakeUpstream, ended: bool) -> None:
    batch = new_batch(alice, [line("first"), line('Grüße "2"'), ask("status-400", "bad")])
    url = f"{BATCHES}{quote(batch.pk)}/line/"
    assert "its chunk is pending" in text_of(admin, f"{url}?custom_id=first")

    run_batch(batch) if ended else run_chunks(batch)

    answered = admin.get(url, {"custom_id": 'Grüße "2"'}).content.decode()
    assert "2 of the input" in answered
    assert "answered (200)" in answered
    assert "<code>invalid_request_error</code>" in text_of(admin, f"{url}?custom_id=bad")
    assert "no line with this custom_id" in text_of(admin, f"{url}?custom_id=firs")


LISTS = (
    *("batches/batch", "batches/chunk", "files/file"),
    *("projects/project", "projects/apikey", "upstreams/upstream", "admin/logentry"),
)


def test_lists_take_as_many_queries_for_four_rows_as_for_one_and_count_nothing(
    admin: Client, alice: Person, sent: Sent
) -> None:
    def fill(number: int) -> None:
        project = Project.objects.create(name=f"p{number}")
        Upstream.objects.create(name=f"u{number}", base_url="http://127.0.0.1:9/v1")
        ApiKey.objects.create_for(project)
        batch = new_batch(alice, [line()])
        Batch.objects.filter(pk=batch.pk).update(project=project)
        admin.post(BATCHES, {"action": "resume", "confirmed": "resume", "_selected_action": [batch.pk]})

    def queries() -> dict[str, int]:
        found = {}
        for path in LISTS:
            with CaptureQueriesContext(connection) as seen:
                text_of(admin, f"/admin/{path}/")
            assert not [each for each in seen if 'COUNT(*) AS "__count" FROM "' in each["sql"]]
            found[path] = len(seen)
        return found

    fill(0)
    first = queries()
    for number in range(1, 4):
        fill(number)

    assert queries() == first


def test_the_dashboard_takes_few_queries_however_many_batches_there_are(
    admin: Client, alice: Person, django_assert_max_num_queries: Callable[..., Any]
) -> None:
    for _ in range(10):
        new_batch(alice, [line()])
    with django_assert_max_num_queries(25):
        text_of(admin, "/admin/")


def test_the_dashboard_tells_of_workers_upstreams_rates_and_shares(
    admin: Client, alice: Person, charlie: Person
) -> None:
    for person in (alice, charlie):
        new_batch(person, [line()])
    Upstream.objects.create(name="gone", base_url="http://127.0.0.1:9/v1")
    hot_row = Upstream.objects.create(name="hot", base_url="http://127.0.0.1:9/v1")
    held = {str(alice.project.pk): 7, str(charlie.project.pk): 1}
    calm = {"standing": "", "trouble": "", "in_flight": 0, "limit": 8, "share": 8, "held": {}}
    gone = calm | {"standing": "upstream_paused", "trouble": "connection refused"}
    hot = calm | {"limit": 3, "trouble": "upstream answered 429", "in_flight": 8, "held": held}
    report = {"upstreams": {"gone": gone, "hot": hot}, "minutes": [{COMPLETED: 40, "timeout": 2}]}
    workers.seen(Worker(name="worker-1@host"), report)
    workers.seen(Worker(name="worker-2@host"), {"upstreams": {"gone": calm, "hot": calm}, "minutes": [{COMPLETED: 8}]})
    sweeps.ended("batches.resume", seconds=0.1, error="ValueError: no")

    page = text_of(admin, "/admin/board/")

    assert "<b>50</b> lines in the last minute" in page
    assert "<code>timeout</code>" in page
    assert "“gone”: away, probed until it is back (connection refused)" in page
    assert "throttles, takes 11 of 16 at once" in page
    assert "has 88 % of what runs; even would be 50 %" in page
    assert "batches.resume fails: ValueError: no" in page
    assert "away" in text_of(admin, "/admin/upstreams/upstream/")
    as_found = "throttles, takes 11 of 16 at once (upstream answered 429)"
    assert as_found in text_of(admin, f"/admin/upstreams/upstream/{hot_row.pk}/change/")


def test_a_silent_worker_is_told_of_and_its_last_words_do_not_count(admin: Client, alice: Person) -> None:
    glance = {"standing": "", "trouble": "", "in_flight": 9, "limit": 9, "share": 9, "held": {}}
    worker = Worker(name="worker-1@host")
    workers.seen(worker, {"upstreams": {"default": glance}, "minutes": [{COMPLETED: 5}]})
    Worker.objects.update(seen_at=timezone.now() - timedelta(minutes=2))

    reading = board.read()

    assert reading.in_flight == 0
    assert reading.fleet is not None
    assert [counts.total() for counts in reading.fleet.by_minute[:4]] == [0, 0, 5, 0]
    assert "No worker was seen in the last 30 s." in [trouble.text for trouble in troubles.of(reading)]


def test_the_dashboard_knows_every_sweep_and_its_pace() -> None:
    scheduled = {entry["task"]: entry["schedule"] for entry in BEAT_SCHEDULE.values()}

    assert scheduled == sweeps.EVERY
    assert set(sweeps.EVERY) == set(scheduled)


def test_a_sweep_that_ended_leaves_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks.expire.apply()
    monkeypatch.setattr(sweeps, "purge", lambda: 1 / 0)
    tasks.purge.apply()

    assert Sweep.objects.get(name="batches.expire").error == ""
    assert Sweep.objects.get(name="batches.purge").error == "ZeroDivisionError: division by zero"


def test_outcomes_are_kept_by_minute_for_a_quarter_of_an_hour_and_by_few_codes() -> None:
    now = 0.0
    outcomes = Outcomes(clock=lambda: now)
    outcomes.ended(COMPLETED)
    now = 65.0
    for number in range(2 * MOST_CODES):
        outcomes.ended(f"code-{number}")

    latest, before = outcomes.by_minute()
    assert before == {COMPLETED: 1}
    assert sum(latest.values()) == 2 * MOST_CODES
    assert latest["other"] == MOST_CODES
    now = 65.0 + 60 * MINUTES
    assert outcomes.by_minute() == []
