"""What answered lines cost in tokens, by project, day and model."""

from collections.abc import Iterable
from datetime import date, timedelta
from typing import NamedTuple
from uuid import UUID

from django.db import connection
from django.db.models import QuerySet, Sum
from django.utils import timezone

from apps.batches.models import Chunk, DailyUsage
from apps.batches.states import UNFINISHED, ChunkState
from apps.inference.usage import NO_USAGE, Usage, summed
from apps.projects.models import Project

MOST_MODEL_CHARACTERS = 256


class Spent(NamedTuple):
    """What one model's answers in a chunk have cost."""

    model: str | None
    requests: int
    usage: Usage


class Tokens(NamedTuple):
    """What a project has spent so far, lines of running chunks included as of their last heartbeat."""

    ever: int
    this_month: int


def add(project_id: UUID, spent: Iterable[Spent]) -> None:
    """Counts answers of a chunk on today's page. Belongs into the transaction that commits the chunk."""
    # In the order of the models: two commits that meet in the same rows take them in the same order.
    rows = [(project_id, name, requests, *usage) for name, requests, usage in _by_name(spent)]
    if rows:
        with connection.cursor() as cursor:
            cursor.executemany(ADD, rows)


def _by_name(spent: Iterable[Spent]) -> list[Spent]:
    """As the column keeps it: Postgres knows no NUL. Two that look alike then are one."""
    named: dict[str, Spent] = {}
    for each in spent:
        name = (each.model or "").replace("\x00", "\ufffd")[:MOST_MODEL_CHARACTERS]
        before = named.get(name, Spent(name, 0, NO_USAGE))
        named[name] = Spent(name, before.requests + each.requests, summed([before.usage, each.usage]))
    return [named[name] for name in sorted(named)]


ADD = """
INSERT INTO batches_dailyusage AS page (project_id, day, model, requests, input_tokens, cached_tokens, output_tokens,
                                        reasoning_tokens, total_tokens)
VALUES (%s, (statement_timestamp() AT TIME ZONE 'UTC')::date, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (project_id, day, model) DO UPDATE
   SET requests = page.requests + excluded.requests,
       input_tokens = page.input_tokens + excluded.input_tokens,
       cached_tokens = page.cached_tokens + excluded.cached_tokens,
       output_tokens = page.output_tokens + excluded.output_tokens,
       reasoning_tokens = page.reasoning_tokens + excluded.reasoning_tokens,
       total_tokens = page.total_tokens + excluded.total_tokens
"""


def tokens(project: Project) -> Tokens:
    """What was spent: committed chunks by their pages, others by their rows."""
    running = Chunk.objects.filter(batch__project=project, batch__status__in=sorted(UNFINISHED))
    open_now = _total(running.exclude(state=ChunkState.DONE))
    pages = DailyUsage.objects.filter(project=project)
    return Tokens(_total(pages) + open_now, _total(pages.filter(day__gte=_first_of_month())) + open_now)


def _total(rows: "QuerySet[Chunk] | QuerySet[DailyUsage]") -> int:
    return int(rows.aggregate(total=Sum("total_tokens"))["total"] or 0)


def _first_of_month() -> date:
    """By Postgres' clock, as the pages' days are."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT date_trunc('month', statement_timestamp() AT TIME ZONE 'UTC')::date")
        first: date = cursor.fetchone()[0]
        return first


class Lately(NamedTuple):
    """What a project's answered lines have cost on the last so many days (UTC), today included."""

    days: int
    requests: int
    input_tokens: int
    output_tokens: int
    total_tokens: int


def lately(project: Project) -> list[Lately]:
    """Of the last 1, 7 and 30 days."""
    today = timezone.now().date()
    return [Lately(days, *_summed(by_day(project, today - timedelta(days=days - 1), today))) for days in (1, 7, 30)]


def _summed(pages: "QuerySet[DailyUsage]") -> list[int]:
    sums = pages.order_by().aggregate(**{name: Sum(name, default=0) for name in Lately._fields[1:]})
    return [int(sums[name]) for name in Lately._fields[1:]]


def by_day(project: Project, first: date, last: date) -> "QuerySet[DailyUsage]":
    """The project's pages from `first` to `last`, both included; the newest day first, then by model."""
    return DailyUsage.objects.filter(project=project, day__range=(first, last)).order_by("-day", "model")
