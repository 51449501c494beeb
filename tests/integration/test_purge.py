"""What the purge sweeps remove, and what they must never touch."""

import os
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage, default_storage
from django.utils import timezone

from apps.batches import sweeps as batch_sweeps
from apps.batches.models import Batch, Chunk
from apps.batches.states import BatchStatus
from apps.files import sweeps as file_sweeps
from apps.files.models import File
from tests.conftest import Person, jsonl, line, uploaded
from tests.integration.conftest import new_batch

pytestmark = pytest.mark.django_db

LONG_AGO = timedelta(days=2)


def age(path: Path) -> None:
    then = time.time() - LONG_AGO.total_seconds()
    os.utime(path, (then, then))


def key_of(file_id: str) -> str:
    return File.objects.get(pk=file_id).object_key


def test_expired_files_lose_their_bytes_and_keep_their_row(alice: Person) -> None:
    expired, kept = uploaded(alice, b"{}"), uploaded(alice, b"{}")
    File.objects.filter(pk=expired).update(expires_at=timezone.now() - timedelta(seconds=1))

    file_sweeps.purge()

    assert not default_storage.exists(key_of(expired))
    assert File.objects.get(pk=expired).object_removed_at is not None
    assert default_storage.exists(key_of(kept))


def test_a_running_batch_keeps_its_input(alice: Person) -> None:
    batch = new_batch(alice, [line()])
    File.objects.update(expires_at=timezone.now() - timedelta(seconds=1))

    file_sweeps.purge()

    assert default_storage.exists(batch.input_file.object_key)


def test_a_poison_row_does_not_stop_the_others(alice: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    poison, other = uploaded(alice, b"{}"), uploaded(alice, b"{}")
    poison_key, delete = key_of(poison), FileSystemStorage.delete
    File.objects.update(expires_at=timezone.now() - timedelta(seconds=1))

    def sometimes(self: FileSystemStorage, key: str) -> None:
        if key == poison_key:
            raise OSError("no")
        delete(self, key)

    monkeypatch.setattr(FileSystemStorage, "delete", sometimes)
    file_sweeps.purge()

    assert File.objects.get(pk=poison).object_removed_at is None
    assert File.objects.get(pk=other).object_removed_at is not None


def test_a_part_without_a_row_goes_when_it_is_old(db: None, settings: Any) -> None:
    for name in ("part_old", "part_new"):
        default_storage.save(f"uploads/{name}.part", ContentFile(b"{}"))
    age(settings.STORAGE_DIR / "uploads" / "part_old.part")

    file_sweeps.purge()

    assert [path.stem for path in (settings.STORAGE_DIR / "uploads").iterdir()] == ["part_new"]


def test_an_object_without_a_row_goes_when_it_is_old(alice: Person, settings: Any) -> None:
    kept = uploaded(alice, b"{}")
    for name in ("file-old", "file-new"):
        default_storage.save(f"files/{name}.jsonl", ContentFile(b"{}"))
    age(settings.STORAGE_DIR / "files" / "file-old.jsonl")
    age(settings.STORAGE_DIR / key_of(kept))

    file_sweeps.purge()

    left = {path.stem for path in (settings.STORAGE_DIR / "files").iterdir()}
    assert left == {"file-new", kept}


def test_old_spools_go(alice: Person, settings: Any) -> None:
    settings.SPOOL_DIR.mkdir(parents=True)
    for name in ("old", "new"):
        (settings.SPOOL_DIR / name).write_bytes(b"x")
    age(settings.SPOOL_DIR / "old")

    file_sweeps.purge()

    assert [path.name for path in settings.SPOOL_DIR.iterdir()] == ["new"]


def test_an_empty_storage_is_no_trouble(db: None) -> None:
    file_sweeps.purge()
    batch_sweeps.purge()


def test_ended_batches_lose_chunks_and_left_parts(alice: Person) -> None:
    old, young, running = (new_batch(alice, [line()]) for _ in range(3))
    for batch in (old, young, running):
        default_storage.save(f"batches/{batch.pk}/parts/0.1.output.jsonl", ContentFile(b"{}\n"))
        default_storage.save(f"batches/{batch.pk}/output.jsonl", ContentFile(b"{}\n"))
    Batch.objects.exclude(pk=running.pk).update(status=BatchStatus.COMPLETED, completed_at=timezone.now())
    Batch.objects.filter(pk=old.pk).update(completed_at=timezone.now() - LONG_AGO)

    batch_sweeps.purge()

    def part(batch: Batch) -> bool:
        return default_storage.exists(f"batches/{batch.pk}/parts/0.1.output.jsonl")

    assert not part(old)
    assert part(young)
    assert part(running)
    assert default_storage.exists(f"batches/{old.pk}/output.jsonl")
    assert set(Chunk.objects.values_list("batch_id", flat=True)) == {young.pk, running.pk}


def test_counts_of_an_ended_batch_outlive_its_chunks(alice: Person) -> None:
    batch = new_batch(alice, [line()])
    Batch.objects.update(status=BatchStatus.COMPLETED, completed_at=timezone.now() - LONG_AGO, completed=1)

    batch_sweeps.purge()

    assert alice.client.get(f"/v1/batches/{batch.pk}").json()["request_counts"]["completed"] == 1
    assert uploaded(alice, jsonl([line()]))
