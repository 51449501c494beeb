"""What answered lines cost in tokens, by project, day and model."""

from collections.abc import Iterable
from datetime import date, timedelta
from typing import Any, NamedTuple

from django.db import connection
from django.db.models import QuerySet, Sum
from django.utils import timezone

from apps.batches.models import DailyUsage
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


def columns(spent: Iterable[Spent]) -> dict[str, list[Any]]:
    """What ADD takes: a list for each column, with a place for each model."""
    rows = [(name, requests, *usage) for name, requests, usage in _by_name(spent)]
    return {name: [row[at] for row in rows] for at, name in enumerate(COLUMNS)}


def _by_name(spent: Iterable[Spent]) -> list[Spent]:
    """As the column keeps it: Postgres knows no NUL. Two that look alike then are one."""
    named: dict[str, Spent] = {}
    for each in spent:
        name = (each.model or "").replace("\x00", "\ufffd")[:MOST_MODEL_CHARACTERS]
        before = named.get(name, Spent(name, 0, NO_USAGE))
        named[name] = Spent(name, before.requests + each.requests, summed([before.usage, each.usage]))
    return list(named.values())


COLUMNS = ("models", "requests", *(f"all_{name}" for name in Usage._fields))
# Counts answers on today's page, of a chunk that `done` has just committed. In the order of the models: two commits
# that meet in the same rows take them in the same order.
ADD = """
INSERT INTO batches_dailyusage AS page (project_id, day, model, requests, input_tokens, cached_tokens, output_tokens,
                                        reasoning_tokens, total_tokens)
SELECT batch.project_id, (statement_timestamp() AT TIME ZONE 'UTC')::date, spent.*
  FROM done JOIN batches_batch AS batch ON batch.id = done.batch_id,
       unnest(%(models)s::text[], %(requests)s::bigint[], %(all_input_tokens)s::bigint[],
              %(all_cached_tokens)s::bigint[], %(all_output_tokens)s::bigint[], %(all_reasoning_tokens)s::bigint[],
              %(all_total_tokens)s::bigint[]) AS spent (model)
 ORDER BY spent.model
ON CONFLICT (project_id, day, model) DO UPDATE
   SET requests = page.requests + excluded.requests,
       input_tokens = page.input_tokens + excluded.input_tokens,
       cached_tokens = page.cached_tokens + excluded.cached_tokens,
       output_tokens = page.output_tokens + excluded.output_tokens,
       reasoning_tokens = page.reasoning_tokens + excluded.reasoning_tokens,
       total_tokens = page.total_tokens + excluded.total_tokens
"""


def tokens(project: Project) -> Tokens:
    """What was spent: committed chunks by their pages, those that run by their rows.

    One statement, for a chunk that commits between two would be in both.
    """
    with connection.cursor() as cursor:
        cursor.execute(TOKENS, {"project": project.pk})
        return Tokens(*map(int, cursor.fetchone()))


# Chunks that were let go count again when somebody has claimed them: pending ones may be very many.
TOKENS = """
WITH running AS (
    SELECT coalesce(sum(chunk.total_tokens), 0) AS tokens
      FROM batches_chunk AS chunk JOIN batches_batch AS batch ON batch.id = chunk.batch_id
     WHERE chunk.state = 'running' AND batch.project_id = %(project)s
), pages AS (
    SELECT coalesce(sum(total_tokens), 0) AS tokens,
           coalesce(sum(total_tokens) FILTER (
             WHERE day >= date_trunc('month', statement_timestamp() AT TIME ZONE 'UTC')::date), 0) AS this_month
      FROM batches_dailyusage WHERE project_id = %(project)s
)
SELECT pages.tokens + running.tokens, pages.this_month + running.tokens FROM pages, running
"""


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
