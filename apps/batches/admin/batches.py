"""Batches in the admin: how far, why not, and what an operator may do about it."""

from collections.abc import Collection, Sequence
from functools import partial
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from apps.api.admin import LookOnlyAdmin, Question, asking_first
from apps.api.errors import Conflict, StorageError
from apps.batches import lifecycle, lookup, overview, reasons, sweeps, tasks
from apps.batches.models import Batch, Chunk
from apps.batches.states import ASSEMBLABLE, CANCELLABLE, RUNNABLE, UNFINISHED, BatchStatus, ChunkState, WaitingReason

MOST_HOURS = 7 * 24


class TroubleFilter(admin.SimpleListFilter):
    """Batches that need a look. All are among the unfinished, which an index holds."""

    title = "trouble"
    parameter_name = "trouble"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [
            ("open", "Has not ended"),
            ("broken", "Has a broken chunk"),
            ("overdue", "Past its deadline"),
            ("slow", "Assembly takes long"),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        match self.value():
            case "open":
                return queryset.filter(status__in=sorted(UNFINISHED))
            case "broken":
                return queryset.filter(pk__in=Chunk.objects.broken().values("batch_id"))
            case "overdue":
                return queryset.filter(pk__in=overview.overdue_batches().values("pk"))
            case "slow":
                return queryset.filter(pk__in=overview.slow_assemblies().values("pk"))
        return queryset


class ExtendForm(forms.Form):
    """How much time a batch is given."""

    hours = forms.IntegerField(
        min_value=1, max_value=MOST_HOURS, initial=24, label="Hours from now", help_text=f"At most {MOST_HOURS}."
    )


def _ask_to_cancel(_: Any, __: HttpRequest, batches: QuerySet[Any]) -> Question:
    open_batches = list(batches.filter(status__in=sorted(CANCELLABLE)))
    return Question(
        "Cancel these batches?",
        [
            f"{len(open_batches)} of {batches.count()} can be cancelled; the others have ended or are being cancelled.",
            *what_a_cancel_does(open_batches),
        ],
        "Cancel the batches",
    )


def what_a_cancel_does(batches: Collection[Batch]) -> list[str]:
    """To these open batches, with counts."""
    total = sum(batch.total for batch in batches)
    ended = sum(tally.completed + tally.failed for tally in Chunk.objects.tallies(batches).values())
    return [
        f"{ended:,} of their {total:,} lines have a result, which is kept. Lines in flight finish.",
        f"Up to {total - ended:,} lines become batch_cancelled errors. This cannot be undone.",
    ]


def _ask_to_resume(_: Any, __: HttpRequest, batches: QuerySet[Any]) -> Question:
    chunks = Chunk.objects.filter(batch__in=batches)
    running = chunks.filter(state=ChunkState.RUNNING).count()
    lost, broken = chunks.stalled().count(), chunks.broken().count()
    pending = chunks.filter(state=ChunkState.PENDING, batch__status__in=sorted(RUNNABLE)).count()
    return Question(
        "Resume these batches?",
        [
            f"Chunks that go back to pending: {broken} broken, {lost} whose lease ran out. Answers in "
            "their journal are kept; what was in flight is sent again.",
            f"{pending} chunks are pending: each gets a new message. A message too many does no harm.",
            f"{max(0, running - lost - broken)} chunks are running and alive: they are left alone.",
        ],
        "Resume",
    )


def _ask_to_assemble(_: Any, __: HttpRequest, batches: QuerySet[Any]) -> Question:
    assemblable = batches.filter(status__in=sorted(ASSEMBLABLE))
    busy = assemblable.filter(assembling_until__gt=timezone.now()).count()
    open_chunks = Chunk.objects.filter(batch__in=assemblable).exclude(state=ChunkState.DONE)
    waiting = open_chunks.values("batch").distinct().count()
    return Question(
        "Assemble the files of these batches again?",
        [
            f"{assemblable.count()} of {batches.count()} have not ended; an ended batch is never assembled again.",
            f"{waiting} of them have chunks that are not done: for these nothing happens.",
            f"{busy} are being assembled by somebody who lives: for these nothing happens either.",
            "For the others the files are joined from the parts, as often as it takes, with the same result.",
        ],
        "Assemble",
    )


def _ask_to_extend(_: Any, request: HttpRequest, batches: QuerySet[Any]) -> Question:
    open_batches = batches.filter(status=BatchStatus.IN_PROGRESS)
    overdue = open_batches.filter(expires_at__lt=timezone.now()).count()
    written_off = Chunk.objects.filter(batch__in=open_batches, state=ChunkState.DONE).exclude(halted="").count()
    answered = "hours" in request.POST
    return Question(
        "Give these batches more time?",
        [
            f"{open_batches.count()} of {batches.count()} are in progress and get the new deadline, if it is later "
            "than theirs. Clients see it as expires_at.",
            f"{overdue} are past their deadline. {written_off} of their chunks hold lines that were written off; those "
            "stay batch_expired, and the batch still ends as expired.",
        ],
        "Extend the deadline",
        ExtendForm(request.POST if answered else None),
    )


@admin.register(Batch)
class BatchAdmin(LookOnlyAdmin):
    list_display = (
        "id",
        "project",
        "status",
        "progress",
        "failed_lines",
        "waiting_reason",
        "created_at",
        "expires_at",
    )
    list_select_related = ("project",)
    list_filter = (TroubleFilter, "status")
    search_fields = ("id__startswith",)
    search_help_text = "A batch's id, or its beginning."
    ordering = ("-created_at", "-id")
    sortable_by = ("created_at",)
    actions = ("cancel", "resume", "assemble", "extend")
    change_form_template = "admin/batches/batch/change_form.html"

    def has_operate_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm("batches.change_batch"))

    def prepare(self, rows: Sequence[Any]) -> None:
        """Live counts and reasons of all rows that need them: two queries."""
        waiting = reasons.of(rows)
        tallies = Chunk.objects.tallies(row for row in rows if not row.is_terminal)
        for row in rows:
            row.reason = waiting.get(row.pk, "")
            row.live = tallies.get(row.pk, row.tally)

    @admin.display(description="progress")
    def progress(self, batch: Any) -> SafeString:
        ended = batch.live.completed + batch.live.failed
        text = "<progress max='{}' value='{}'></progress> {} of {}"
        return format_html(text, max(batch.total, 1), ended, f"{ended:,}", f"{batch.total:,}")

    @admin.display(description="failed lines")
    def failed_lines(self, batch: Any) -> str:
        return f"{batch.live.failed:,}" if batch.live.failed else ""

    @admin.display(description="waits because")
    def waiting_reason(self, batch: Any) -> str:
        return WaitingReason(batch.reason).label if batch.reason else ""

    @admin.action(description="Cancel", permissions=["operate"])
    @asking_first(_ask_to_cancel)
    def cancel(self, request: HttpRequest, batches: QuerySet[Any]) -> None:
        for batch in batches:
            try:
                if tasks.cancel(batch):
                    self.log_change(request, batch, "Cancelled.")
                    self.message_user(request, f"{batch} is being cancelled.", messages.SUCCESS)
            except Conflict as refusal:
                self.message_user(request, f"{batch}: {refusal.message}", messages.WARNING)

    @admin.action(description="Resume: take back stuck chunks, send messages again", permissions=["operate"])
    @asking_first(_ask_to_resume)
    def resume(self, request: HttpRequest, batches: QuerySet[Any]) -> None:
        for batch in batches.filter(status__in=sorted(RUNNABLE)):
            taken = sweeps.mend(batch.pk)
            tasks.begin(batch.pk)
            self.log_change(request, batch, f"Resumed; chunks taken back: {taken}.")
            self.message_user(request, f"Chunks of {batch} taken back: {taken}. Messages are sent again.")

    @admin.action(description="Assemble the files again", permissions=["operate"])
    @asking_first(_ask_to_assemble)
    def assemble(self, request: HttpRequest, batches: QuerySet[Any]) -> None:
        for batch in batches.filter(status__in=sorted(ASSEMBLABLE)):
            tasks.on_commit(partial(tasks.finalize.delay, batch.pk))
            self.log_change(request, batch, "Asked for its assembly.")
            self.message_user(request, f"{batch}: a message for its assembly was sent.")

    @admin.action(description="Extend the deadline", permissions=["operate"])
    @asking_first(_ask_to_extend)
    def extend(self, request: HttpRequest, batches: QuerySet[Any], given: dict[str, Any]) -> None:
        hours = given["hours"]
        for batch in batches:
            if lifecycle.extend(batch, hours):
                self.log_change(request, batch, f"Deadline extended to {hours} h from now.")
                self.message_user(request, f"{batch} has {hours} h from now.", messages.SUCCESS)
            else:
                text = f"{batch} is not in progress, or has more time already."
                self.message_user(request, text, messages.WARNING)

    def get_urls(self) -> list[URLPattern]:
        find = path("<path:object_id>/line/", self.admin_site.admin_view(self.line_view), name="batches_batch_line")
        return [find, *super().get_urls()]

    def change_view(self, request: HttpRequest, object_id: str, *args: Any, **options: Any) -> HttpResponse:
        batch = self.get_object(request, unquote(object_id))
        if batch is not None and self.has_view_permission(request, batch):
            self.prepare([batch])
            states = overview.chunks_by_state(batch)
            options["extra_context"] = {
                "title": f"Batch {batch.pk}",
                "batch": batch,
                "reason": self.waiting_reason(batch),
                "progress": self.progress(batch),
                "states": sorted(states.items()),
                "broken": Chunk.objects.filter(batch=batch).broken().count(),
                "doable": self._doable(request, batch),
            }
        return super().change_view(request, object_id, *args, **options)

    def _doable(self, request: HttpRequest, batch: Batch) -> list[tuple[str, str]]:
        """(action, label) of what makes sense now."""
        if not self.has_operate_permission(request):
            return []
        fits = {
            "cancel": batch.status in CANCELLABLE,
            "resume": batch.status in RUNNABLE,
            "assemble": batch.status in ASSEMBLABLE,
            "extend": batch.status == BatchStatus.IN_PROGRESS,
        }
        labels = {"cancel": "Cancel", "resume": "Resume", "assemble": "Assemble again", "extend": "Extend deadline"}
        return [(name, labels[name]) for name, is_fit in fits.items() if is_fit]

    def line_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """GET `?custom_id=`: where one line is. It shows no prompt and no answer."""
        batch = self.get_object(request, unquote(object_id))
        if batch is None:
            raise Http404
        if not self.has_view_permission(request, batch):
            raise PermissionDenied
        custom_id = request.GET.get("custom_id", "")
        found, problem = _look_up(batch, custom_id)
        context = {
            **self.admin_site.each_context(request),
            "title": "Where is a line?",
            "opts": self.opts,
            "batch": batch,
            "custom_id": custom_id,
            "found": found,
            "problem": problem,
        }
        return TemplateResponse(request, "admin/batches/batch/line.html", context)


def _look_up(batch: Batch, custom_id: str) -> tuple[lookup.Found | None, str]:
    """The line, or why there is none to show."""
    if not custom_id:
        return None, ""
    try:
        found = lookup.find(batch, custom_id)
    except FileNotFoundError:
        return None, "The bytes that would tell are not in the storage any more."
    except StorageError:
        return None, "The storage does not answer; its error is in the log."
    return found, "" if found else "The input has no line with this custom_id."
