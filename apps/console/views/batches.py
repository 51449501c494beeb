"""The list of batches, and one batch: to look at, to cancel, to retry."""

from django.contrib import messages
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import redirect
from django.views.decorators.http import require_POST, require_safe

from apps.api import pagination
from apps.api.ids import is_wellformed
from apps.batches import lifecycle, tasks
from apps.batches.codes import CANCELLED, PASSING
from apps.batches.models import Batch
from apps.batches.pipeline.retry import Retry
from apps.batches.pipeline.retry import retry as retry_lines
from apps.batches.states import UNFINISHED, BatchStatus
from apps.console import progress, samples
from apps.console.access import Viewer
from apps.console.pages import page, show
from apps.files.models import File

A_PAGE = 20
FILTERS: dict[str, tuple[str, frozenset[BatchStatus]]] = {
    "": ("All", frozenset(BatchStatus)),
    "running": ("Running", UNFINISHED),
    "completed": ("Completed", frozenset({BatchStatus.COMPLETED})),
    "failed": ("Failed", frozenset({BatchStatus.FAILED})),
    "expired": ("Expired", frozenset({BatchStatus.EXPIRED})),
    "cancelled": ("Cancelled", frozenset({BatchStatus.CANCELLED})),
}


@require_safe
@page
def batches(request: HttpRequest, viewer: Viewer) -> HttpResponseBase:
    mine = Batch.objects.filter(project=viewer.project)
    after = request.GET.get("after")
    cursor = lifecycle.find(viewer.project, after, param="after") if after else None
    rows = _filtered(request, mine).select_related("input_file")
    found, has_more = pagination.page(rows, after=cursor, limit=A_PAGE)
    shown = progress.of(found)
    return show(
        request,
        viewer,
        "batches",
        rows=shown,
        filters=[(name, label) for name, (label, _) in FILTERS.items()],
        status=request.GET.get("status", ""),
        q=request.GET.get("q", ""),
        after=after,
        older=found[-1].pk if has_more else None,
        is_moving=any(not row.batch.is_terminal for row in shown),
        is_empty=not shown and not mine.exists(),
    )


@require_safe
@page
def batch(request: HttpRequest, viewer: Viewer, batch_id: str) -> HttpResponseBase:
    found = lifecycle.find(viewer.project, batch_id)
    (shown,) = progress.of([found])
    report = samples.failures(found)
    passing = sum(group.count for group in report.groups if group.code in PASSING)
    cancelled = sum(group.count for group in report.groups if group.code == CANCELLED)
    return show(
        request,
        viewer,
        "batch",
        progress=shown,
        batch=found,
        report=report,
        passing=passing,
        cancelled=cancelled,
        metadata=list(found.metadata.items()),
        retry_of=_retried(found),
        curve=progress.curve(shown),
        samples=samples.first(found),
        files=_result_files(found),
        can_cancel=found.status in UNFINISHED - {BatchStatus.CANCELLING},
    )


@require_POST
@page
def cancel(request: HttpRequest, viewer: Viewer, batch_id: str) -> HttpResponseBase:
    tasks.cancel(lifecycle.find(viewer.project, batch_id))
    messages.success(request, "Cancelling: lines in flight finish and are kept, the rest is not sent.")
    return redirect("console:batch", batch_id)


@require_POST
@page
def retry(request: HttpRequest, viewer: Viewer, batch_id: str) -> HttpResponseBase:
    found = lifecycle.find(viewer.project, batch_id)
    codes = PASSING | {CANCELLED} if request.POST.get("cancelled") else PASSING
    again = retry_lines(Retry(found, viewer.key, submitted_by=viewer.user, codes=codes))
    tasks.begin(again.pk)
    messages.success(request, f"A new batch sends the {again.total} failed lines again.")
    return redirect("console:batch", again.pk)


def _filtered(request: HttpRequest, rows: QuerySet[Batch]) -> QuerySet[Batch]:
    _, statuses = FILTERS.get(request.GET.get("status", ""), FILTERS[""])
    rows = rows.filter(status__in=statuses)
    wanted = request.GET.get("q", "").replace("\x00", "").strip()
    return rows.filter(Q(pk__icontains=wanted) | Q(input_file__filename__icontains=wanted)) if wanted else rows


def _retried(found: Batch) -> str | None:
    """The batch that this one retries; of one that a client put together, if its metadata names one."""
    named = found.retry_of_id or found.metadata.get("retry_of")
    return named if is_wellformed(named) else None


def _result_files(found: Batch) -> list[tuple[str, File]]:
    """What can be downloaded, with its label."""
    named = {"Results": found.output_file_id, "Errors": found.error_file_id, "Input": found.input_file_id}
    live = File.objects.live().in_bulk([pk for pk in named.values() if pk])
    return [(label, live[pk]) for label, pk in named.items() if pk in live]
