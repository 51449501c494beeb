"""Erases a project: everything that it has in Postgres, in the storage and in Redis. The audit keeps what was done."""

import time
from collections import Counter
from contextlib import suppress
from typing import Any

import structlog
from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import transaction
from django.db.models import F, ProtectedError

from apps.batches import erase as batches
from apps.batches.models import Batch
from apps.files import erase as files
from apps.files.models import File, Upload
from apps.projects import audit
from apps.projects.audit import AuditEntry
from apps.projects.models import Project
from apps.webhooks.models import WebhookEndpoint

log = structlog.get_logger(__name__)

LOOK_SECONDS = 0.5
MOST_ROUNDS = 5
ERASED = "project.erased"


class WrongStorage(Exception):
    """None of its objects is in the storage that the settings name; nothing was done."""


class LinesInFlight(Exception):
    """Workers still wait for answers to its lines; the message says in which batches."""


class StillInUse(Exception):
    """Requests that began before it was closed go on adding to it."""


def erase(project: Project, *, wait_seconds: float, missing_ok: bool = False) -> Counter[str]:
    """How many of what was removed. Every step may be repeated, so after any failure the whole may.

    1. The project is disabled: its keys and members open nothing.
    2. Its batches are cancelled. Who runs a chunk sends no further line, waits for those in flight, and commits.
    3. Batches that nobody works on are ended under an epoch that is nobody's, so that nobody can begin again.
    4. Objects and journals go, then the rows that name them: batches first, for they hold their inputs.
    5. One transaction locks the project, sees that nothing was added meanwhile by a request that had begun before
       step 1 (else all begins anew), and removes the project with its keys, endpoints and whatever else refers to it.

    With `missing_ok` it goes on though none of the project's objects is in the storage.

    Raises LinesInFlight if workers hold chunks for longer than `wait_seconds` (nothing has been removed then),
    StillInUse, WrongStorage, StorageError and redis.RedisError.
    """
    if not missing_ok and files.are_elsewhere(project.pk):
        raise WrongStorage
    removed: Counter[str] = Counter()
    for _ in range(MOST_ROUNDS):
        _close(project)
        _await_workers(project, wait_seconds)
        with suppress(ProtectedError):  # a batch that was refused just now names a file
            _remove(project, removed)
        if _finish(project, removed):
            log.info("project erased", project_id=str(project.pk))
            return removed
    raise StillInUse


def was_erased(project_id: Any) -> bool:
    return AuditEntry.objects.filter(project_id=project_id, action=ERASED).exists()


def _remove(project: Project, removed: Counter[str]) -> None:
    of_batches, objects = batches.remove_all(project.pk)
    removed.update(batches=of_batches, objects=objects)
    of_files = files.remove_all(project.pk)
    removed.update(files=of_files.files, uploads=of_files.uploads, objects=of_files.objects)


def _close(project: Project) -> None:
    with transaction.atomic():
        if Project.objects.filter(pk=project.pk, enabled=True).update(enabled=False):
            changes = {"before": {"enabled": True}, "after": {"enabled": False}}
            audit.record("project.disabled", project.pk, project.pk, **changes)
    files.end_uploads(project.pk)
    batches.cancel_all(project.pk)


def _await_workers(project: Project, wait_seconds: float) -> None:
    end = time.monotonic() + wait_seconds
    while busy := batches.end_all(project.pk):
        if time.monotonic() > end:
            held = batches.in_flight(busy)
            raise LinesInFlight(", ".join(f"{batch_id} ({chunks} chunks run)" for batch_id, chunks in held.items()))
        time.sleep(LOOK_SECONDS)


@transaction.atomic
def _finish(project: Project, removed: Counter[str]) -> bool:
    """Removes the project if nothing of it is left but rows; False if something was added meanwhile.

    With the project's row locked nobody can commit a row that refers to it, and afterwards none can be.
    """
    Project.objects.select_for_update().get(pk=project.pk)
    if any(model._default_manager.filter(project=project.pk).exists() for model in (Batch, File, Upload)):
        return False
    _forget_names(project)
    _, rows = Project.objects.filter(pk=project.pk).delete()
    removed.update({name.rpartition(".")[2]: number for name, number in rows.items() if number})
    audit.forget(project.pk)
    audit.record(ERASED, project.pk, project.pk, after={"removed": dict(removed)})
    return True


def _forget_names(project: Project) -> None:
    """The admin's log keeps what was done to which id."""
    endpoints = WebhookEndpoint.objects.filter(project=project.pk)
    for model, ids in ((Project, [str(project.pk)]), (WebhookEndpoint, list(endpoints.values_list("pk", flat=True)))):
        kind = ContentType.objects.get_for_model(model)
        LogEntry.objects.filter(content_type=kind, object_id__in=ids).update(object_repr=F("object_id"))
