"""What a project's batches use of its limits, counted from the rows themselves, so that nothing can drift."""

from collections.abc import Collection

from django.db.models import Count, QuerySet, Sum

from apps.batches import usage
from apps.batches.models import Batch
from apps.batches.states import UNFINISHED
from apps.projects import limits
from apps.projects.limits import Limit
from apps.projects.models import Project

OF_TOKENS = (Limit.TOKENS, Limit.TOKENS_THIS_MONTH)
OF_BATCHES = (Limit.BATCHES_IN_PROGRESS, Limit.ENQUEUED_LINES, *OF_TOKENS)


def admit(project: Project, lines: int) -> None:
    """Raises QuotaExceeded if the project has no room for one more batch of that many lines.

    Belongs into the transaction that stores the batch: until it ends, nobody else is admitted. What an ended batch had
    used is free in the moment in which it ends, since nothing is counted but batches that have not ended.
    """
    if not limits.are_set(project, OF_BATCHES):
        return
    project = limits.hold(project)
    used = of_batches(project)
    limits.refuse(project, Limit.BATCHES_IN_PROGRESS, used=used[Limit.BATCHES_IN_PROGRESS], needed=1)
    limits.refuse(project, Limit.ENQUEUED_LINES, used=used[Limit.ENQUEUED_LINES], needed=lines)
    if limits.are_set(project, OF_TOKENS):
        for limit, spent in of_tokens(project).items():
            limits.refuse(project, limit, used=spent, needed=1)  # what the lines will cost, nobody knows


def of_batches(project: Project) -> dict[Limit, int]:
    """What its batches use that have not ended."""
    used = _unfinished_batches().filter(project=project).aggregate(batches=Count("pk"), lines=Sum("total", default=0))
    return {Limit.BATCHES_IN_PROGRESS: used["batches"], Limit.ENQUEUED_LINES: used["lines"]}


def of_tokens(project: Project) -> dict[Limit, int]:
    """What it has spent, as of the last heartbeats."""
    spent = usage.tokens(project)
    return {Limit.TOKENS: spent.ever, Limit.TOKENS_THIS_MONTH: spent.this_month}


def used_up(project_ids: Collection[str]) -> set[str]:
    """Those whose token budget is spent: their lines that were not sent yet are sent no more."""
    return {str(project.pk) for project in _with_budget(project_ids) if _is_spent(project)}


def spent_projects() -> list[str]:
    """Of the projects with unfinished batches, those whose token budget is spent."""
    busy = _unfinished_batches().values("project").distinct()
    return sorted(used_up([str(project_id) for project_id in busy.values_list("project", flat=True)]))


def _with_budget(project_ids: Collection[str]) -> list[Project]:
    """One cheap look for each heartbeat of a fleet on which nobody has a budget."""
    rows = Project.objects.filter(pk__in=project_ids)
    return [project for project in rows if limits.are_set(project, OF_TOKENS)]


def _is_spent(project: Project) -> bool:
    spent = of_tokens(project)
    allowed = {limit: limits.most(project, limit) for limit in OF_TOKENS}
    return any(most is not None and spent[limit] >= most for limit, most in allowed.items())


def _unfinished_batches() -> "QuerySet[Batch]":
    # The condition that the index is made with, so that ended batches are never looked at.
    return Batch.objects.filter(status__in=sorted(UNFINISHED))
