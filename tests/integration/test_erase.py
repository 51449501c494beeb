"""`manage.py erase_project`: asks first, waits for workers, and may be interrupted anywhere."""

import uuid
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
from django.conf import settings as django_settings
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.core.files.storage import FileSystemStorage
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.utils import timezone

from apps.batches import journal, leases
from apps.batches.journal import Entry
from apps.batches.models import Batch, Chunk
from apps.inference.usage import Usage
from apps.operations.erase import was_erased
from apps.projects.audit import AuditEntry
from apps.projects.models import Project
from apps.webhooks import outbox
from apps.webhooks.models import EventType
from tests.conftest import Person, jsonl, line, uploaded
from tests.fakes.upstream import FakeUpstream
from tests.integration.conftest import ask, new_batch, results, run_batch
from tests.integration.test_webhooks import endpoint_of

pytestmark = pytest.mark.django_db


def furnish(person: Person) -> Batch:
    """Some of everything that a project can have; the batch that has ended."""
    ended = run_batch(new_batch(person, [ask("echo", "good"), ask("status-400", "bad")]))
    endpoint_of(person)
    outbox.record(person.project.pk, EventType.BATCH_COMPLETED, ended.pk)
    begun = {"purpose": "batch", "filename": "a", "bytes": 4, "mime_type": "text/plain"}
    upload = person.client.post("/v1/uploads", begun, format="json").json()["id"]
    part = person.client.post(f"/v1/uploads/{upload}/parts", {"data": SimpleUploadedFile("part", b"{}\n")})
    assert part.status_code == 200, part.content
    uploaded(person, jsonl([line()]))
    return ended


def objects() -> set[str]:
    """All that is in the storage, folders too, but for the spools' one."""
    folder: Path = django_settings.STORAGE_DIR
    return {str(path.relative_to(folder)) for path in folder.rglob("*")} - {"tmp", "files", "batches", "uploads"}


def mentions(*names: object) -> set[str]:
    """Tables with a row that has one of these texts in any of its columns."""
    found = set()
    with connection.cursor() as cursor:
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = current_schema()")
        for (table,) in cursor.fetchall():
            for name in names:
                cursor.execute(f'SELECT count(*) FROM "{table}" AS t WHERE t::text LIKE %s', [f"%{name}%"])
                if cursor.fetchone() != (0,):
                    found.add(table)
    return found


def erase(project_id: Any, **options: Any) -> None:
    call_command("erase_project", str(project_id), **{"yes": True, "wait": 0, **options})


@pytest.mark.django_db(transaction=True)
def test_nothing_is_left_but_the_audit_and_others_keep_everything(
    alice: Person, charlie: Person, upstream: FakeUpstream, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = furnish(charlie)
    of_charlie = objects()
    ended, running = furnish(alice), new_batch(alice, [line()])
    claim = leases.claim(running.chunks.get().pk)
    assert claim is not None
    leases.release(claim)
    name, pk = alice.project.name, alice.project.pk

    erase(pk)

    said = capsys.readouterr().out
    assert "batches: 2\n" in said
    assert "ApiKey: 1\n" in said
    assert objects() == of_charlie
    assert mentions(pk, ended.pk, running.pk, alice.key.prefix) == {"projects_auditentry"}
    assert mentions(name.replace("'", "''"), name) == set()
    assert list(results(charlie, kept.output_file_id)) == ["good"]
    assert {each.action for each in AuditEntry.objects.filter(project_id=pk)} >= {"key.created", "project.erased"}

    erase(pk)

    assert "erased before" in capsys.readouterr().out


@pytest.mark.django_db(transaction=True)
def test_it_goes_on_wherever_it_was_interrupted(
    alice: Person, charlie: Person, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    furnish(charlie)
    of_charlie = objects()
    furnish(alice)
    new_batch(alice, [line()])
    delete, calls, attempts = FileSystemStorage.delete, 0, 0

    def sometimes(self: FileSystemStorage, key: str) -> None:
        """Each attempt comes one object further than the one before."""
        nonlocal calls
        calls += 1
        if calls == attempts:
            raise OSError("no")
        delete(self, key)

    monkeypatch.setattr(FileSystemStorage, "delete", sometimes)
    while not was_erased(alice.project.pk):
        calls, attempts = 0, attempts + 1
        try:
            erase(alice.project.pk)
        except CommandError as error:
            assert "Not all was removed" in str(error)

    assert attempts > 4
    assert objects() == of_charlie
    assert mentions(alice.project.pk) == {"projects_auditentry"}


def test_while_lines_are_in_flight_it_refuses_and_removes_nothing(alice: Person, upstream: FakeUpstream) -> None:
    batch = new_batch(alice, [line()])
    before = objects()
    claim = leases.claim(batch.chunks.get().pk)
    assert claim is not None

    with pytest.raises(CommandError, match=rf"lines are still in flight of {batch.pk} \(1 chunks run\)"):
        erase(alice.project.pk)

    assert objects() == before
    assert Batch.objects.get().status == "cancelling"
    assert alice.client.get("/v1/batches").status_code == 403


def test_a_worker_that_is_gone_holds_nothing_up_and_can_commit_nothing(alice: Person) -> None:
    batch = new_batch(alice, [line()])
    chunk_id = batch.chunks.get().pk
    claim = leases.claim(chunk_id)
    assert claim is not None
    journal_of(chunk_id)
    Chunk.objects.update(lease_expires_at=timezone.now() - timedelta(seconds=1))

    erase(alice.project.pk)

    assert leases.renew([leases.Beat(chunk_id, claim.epoch, 0, 0)]) == []
    assert not leases.release(claim)
    assert journal.load(chunk_id) == []
    assert objects() == set()


def journal_of(chunk_id: int) -> None:
    with redis.Redis.from_url(django_settings.REDIS_URL) as broker:
        entry = Entry(1, "output", b"{}", Usage())
        broker.rpush(f"journal:{chunk_id}", journal._encoder.encode([entry]))
    assert journal.load(chunk_id)


def test_it_asks_for_the_projects_name(alice: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builtins.input", lambda _: "Alice")
    with pytest.raises(CommandError, match="not its name"):
        erase(alice.project.pk, yes=False)
    assert alice.client.get("/v1/batches").status_code == 200

    monkeypatch.setattr("builtins.input", lambda _: alice.project.name)
    erase(alice.project.pk, yes=False)
    assert not Project.objects.exists()


def test_another_storage_than_its_own_is_noticed_in_time(alice: Person, settings: Any, tmp_path: Path) -> None:
    uploaded(alice, b"{}")
    backend = settings.STORAGES["default"]
    elsewhere = {**backend, "OPTIONS": {**backend["OPTIONS"], "location": tmp_path / "elsewhere"}}
    settings.STORAGES = {**settings.STORAGES, "default": elsewhere}

    with pytest.raises(CommandError, match="nothing was done"):
        erase(alice.project.pk)
    assert alice.client.get("/v1/batches").status_code == 200

    erase(alice.project.pk, missing_ok=True)
    assert was_erased(alice.project.pk)


def test_an_unknown_project_is_an_error(db: None) -> None:
    with pytest.raises(CommandError, match="No project has the id"):
        erase(uuid.uuid4())


def test_the_admins_log_keeps_no_name(alice: Person) -> None:
    admin = Client()
    admin.force_login(User.objects.create_superuser("root"))
    admin.post(
        "/admin/projects/project/",
        {"action": "disable", "confirmed": "disable", "_selected_action": [alice.project.pk]},
    )
    assert LogEntry.objects.get().object_repr == alice.project.name

    erase(alice.project.pk)

    assert LogEntry.objects.get().object_repr == str(alice.project.pk)
