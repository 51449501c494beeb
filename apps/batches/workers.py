"""Which processes take chunks, for operators: each writes a row with its heartbeats. Nothing rests on these rows."""

from datetime import timedelta
from typing import Any

from django.db.models import QuerySet
from django.db.models.functions import Now

from apps.batches.models import Worker

SEEN_WITHIN = timedelta(seconds=30)
"""A worker silent for longer counts as gone."""
FORGOTTEN_AFTER = timedelta(days=1)


def seen(worker: Worker, report: dict[str, Any] | None = None) -> None:
    """Notes that the worker lives, and what it says of itself (report.py)."""
    if not Worker.objects.filter(pk=worker.pk).update(seen_at=Now(), report=report or {}):
        worker.report = report or {}
        worker.save(force_insert=True)


def alive() -> "QuerySet[Worker]":
    """Workers seen of late."""
    return Worker.objects.filter(seen_at__gt=Now() - SEEN_WITHIN)


def purge() -> None:
    """Forgets workers that are long gone."""
    Worker.objects.filter(seen_at__lt=Now() - FORGOTTEN_AFTER).delete()
