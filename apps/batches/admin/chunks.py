"""Chunks in the admin: who has which, why the last one let go, and taking one back by hand."""

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.utils import quote
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from apps.api.admin import LookOnlyAdmin, Question, asking_first
from apps.batches import leases, tasks
from apps.batches.models import Chunk
from apps.batches.states import RUNNABLE, ChunkState

OF_A_BATCH = "batch__id__exact"


class StuckFilter(admin.SimpleListFilter):
    """What an operator looks for among millions; each is one look at an index."""

    title = "trouble"
    parameter_name = "trouble"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [
            ("broken", "Broken: nobody will bring it back"),
            ("lost", "Lease ran out"),
            ("failed", "Let go with an error"),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        chunks: Any = queryset
        match self.value():
            case "broken":
                return chunks.broken()  # type: ignore[no-any-return]
            case "lost":
                return chunks.stalled()  # type: ignore[no-any-return]
            case "failed":
                failed: QuerySet[Any] = chunks.filter(~Q(state=ChunkState.DONE), ~Q(error=""))
                return failed
        return queryset


def _ask_to_take_back(_: Any, __: HttpRequest, chunks: QuerySet[Any]) -> Question:
    running = chunks.filter(state=ChunkState.RUNNING)
    alive = running.filter(lease_expires_at__gt=timezone.now()).aggregate(
        chunks=Count("pk"), batches=Count("batch", distinct=True)
    )
    done, pending = (chunks.filter(state=state).count() for state in (ChunkState.DONE, ChunkState.PENDING))
    others = chunks.count() - done - pending - alive["chunks"]
    return Question(
        "Take these chunks back?",
        [
            f"{alive['chunks']} are running with a lease that holds. Their worker loses them at its next heartbeat, "
            "and what it has in flight is cut off and sent again (at most a request for each slot). Do this only if "
            "that worker is gone.",
            f"{others} are held by nobody who lives, or broken: they go back to pending.",
            f"{pending} are pending: they get a new message.",
            f"{done} are done and are left alone.",
            "Answers that are in the journal are kept.",
        ],
        "Take them back",
    )


@admin.register(Chunk)
class ChunkAdmin(LookOnlyAdmin):
    list_display = (
        "place",
        "batch_link",
        "state",
        "ended",
        "epoch",
        "lease",
        "waiting",
        "sent",
        "error",
        "owner",
    )
    list_display_links = ("place",)
    list_filter = (StuckFilter, "state")
    sortable_by = ()
    actions = ("take_back",)

    def get_ordering(self, request: HttpRequest) -> tuple[str, ...]:
        """As an index has them: a batch's in their order, those of a state by batch, and of all the latest first.

        With the latest first for a state that few have, Postgres would walk through all the others to find them.
        """
        if OF_A_BATCH in request.GET:
            return ("index",)
        is_narrow = "trouble" in request.GET or request.GET.get("state__exact", ChunkState.DONE) != ChunkState.DONE
        return ("batch_id", "index") if is_narrow else ("-pk",)

    def has_operate_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm("batches.change_batch"))

    @admin.display(description="chunk")
    def place(self, chunk: Any) -> str:
        return f"{chunk.index}: lines {chunk.first_line}–{chunk.first_line + chunk.lines - 1}"

    @admin.display(description="batch")
    def batch_link(self, chunk: Any) -> SafeString:
        url = reverse("admin:batches_batch_change", args=[quote(chunk.batch_id)])
        return format_html('<a href="{}">{}</a>', url, chunk.batch_id)

    @admin.display(description="lines ended")
    def ended(self, chunk: Any) -> str:
        return f"{chunk.completed + chunk.failed} of {chunk.lines}"

    @admin.display(description="lease left")
    def lease(self, chunk: Any) -> str:
        if chunk.lease_expires_at is None:
            return "none" if chunk.state == ChunkState.RUNNING else ""
        return f"{(chunk.lease_expires_at - timezone.now()).total_seconds():.0f} s"

    @admin.display(description="last message")
    def sent(self, chunk: Any) -> str:
        if chunk.enqueued_at is None or chunk.state == ChunkState.DONE:
            return ""
        return f"{(timezone.now() - chunk.enqueued_at).total_seconds():.0f} s ago"

    @admin.action(description="Take back: pending again, for the next free worker", permissions=["operate"])
    @asking_first(_ask_to_take_back)
    def take_back(self, request: HttpRequest, chunks: QuerySet[Any]) -> None:
        open_chunks = chunks.filter(batch__status__in=sorted(RUNNABLE)).exclude(state=ChunkState.DONE)
        chosen = list(open_chunks.select_related("batch"))
        taken = leases.take_back([chunk.pk for chunk in chosen])
        for chunk in chosen:
            self.log_change(request, chunk, f"Taken back from {chunk.state!r}, epoch {chunk.epoch}.")
        for batch_id in {chunk.batch_id for chunk in chosen}:
            tasks.begin(batch_id)
        self.message_user(
            request, f"{taken} chunks are pending again.", messages.SUCCESS if taken else messages.WARNING
        )
