"""Pages that need more than their own app: projects with usage, upstreams with health, and who did what."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, ClassVar

from django.contrib import admin, messages
from django.contrib.admin.models import LogEntry
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse

from apps.api.admin import LookOnlyAdmin, Question, asking_first
from apps.api.errors import Conflict
from apps.batches import overview, tasks, usage
from apps.batches.admin.batches import what_a_cancel_does
from apps.batches.models import Batch
from apps.batches.overview import UpstreamSeen
from apps.batches.standing import standings
from apps.batches.states import CANCELLABLE
from apps.operations import board
from apps.projects.admin import ApiKeyAdmin, ProjectAdmin
from apps.projects.models import ApiKey, Project
from apps.upstreams.admin import UpstreamAdmin
from apps.upstreams.models import Upstream


def _open_batches(projects: QuerySet[Any]) -> QuerySet[Batch]:
    return Batch.objects.filter(project__in=projects, status__in=sorted(CANCELLABLE))


def _ask_to_cancel_all(_: Any, __: HttpRequest, projects: QuerySet[Any]) -> Question:
    open_batches = list(_open_batches(projects))
    return Question(
        "Cancel every open batch of these projects?",
        [
            f"{len(open_batches)} batches are cancelled.",
            *what_a_cancel_does(open_batches),
            "Its keys go on working: disable the project first if no new batches shall come.",
        ],
        "Cancel all of them",
    )


class KeyInline(admin.TabularInline):
    model = ApiKey
    fields = readonly_fields = ("prefix", "name", "created_at", "last_used_at", "expires_at", "revoked_at")
    extra = 0
    max_num = 0
    can_delete = False
    show_change_link = True


admin.site.unregister([Project, ApiKey, Upstream])


@admin.register(Project)
class ProjectWithUsageAdmin(ProjectAdmin):
    list_display = ("name", "id", "enabled", "open_batches", "running_chunks", "created_at")
    inlines = (KeyInline,)
    actions = (*ProjectAdmin.actions, "cancel_batches")
    change_form_template = "admin/projects/project/change_form.html"

    def prepare(self, rows: Sequence[Any]) -> None:
        shares = {share.project_id: share for share in overview.shares()}
        for row in rows:
            row.share = shares.get(str(row.pk))

    @admin.display(description="open batches")
    def open_batches(self, project: Any) -> int:
        return project.share.open_batches if project.share else 0

    @admin.display(description="running chunks")
    def running_chunks(self, project: Any) -> int:
        return project.share.running_chunks if project.share else 0

    def consequences(self, projects: QuerySet[Any]) -> list[str]:
        return [f"{_open_batches(projects).count()} open batches go on. To stop those too, cancel them."]

    @admin.action(description="Cancel every open batch", permissions=["change"])
    @asking_first(_ask_to_cancel_all)
    def cancel_batches(self, request: HttpRequest, projects: QuerySet[Any]) -> None:
        for project in projects:
            cancelled = 0
            for batch in _open_batches(Project.objects.filter(pk=project.pk)):
                with suppress(Conflict):  # it has ended meanwhile
                    cancelled += tasks.cancel(batch)
            self.log_change(request, project, f"Cancelled {cancelled} open batches.")
            self.message_user(request, f"“{project}”: {cancelled} batches are being cancelled.", messages.SUCCESS)

    def change_view(self, request: HttpRequest, object_id: str, *args: Any, **options: Any) -> HttpResponse:
        project = self.get_object(request, object_id)
        if project is not None and self.has_view_permission(request, project):
            options["extra_context"] = {
                "usage": usage.lately(project),
                "standings": standings(project),
                "project": project,
            }
        return super().change_view(request, object_id, *args, **options)


@admin.register(ApiKey)
class KeyWithBatchesAdmin(ApiKeyAdmin):
    def consequences(self, keys: QuerySet[Any]) -> list[str]:
        open_batches = Batch.objects.filter(api_key__in=keys, status__in=sorted(CANCELLABLE)).count()
        return [f"{open_batches} open batches were submitted with them."]


@admin.register(Upstream)
class UpstreamWithHealthAdmin(UpstreamAdmin):
    list_display = ("name", "base_url", "models", "enabled", "health", "in_flight", "max_in_flight", "stored_key")

    readonly_fields: ClassVar[tuple[str, ...]] = (*UpstreamAdmin.readonly_fields, "health", "in_flight")

    def get_fieldsets(self, request: HttpRequest, obj: Upstream | None = None) -> Any:
        found = ("Now", {"fields": ("health", "in_flight")})
        fieldsets = super().get_fieldsets(request, obj)
        return [fieldsets[0], found, *fieldsets[1:]] if obj else fieldsets

    def get_object(self, request: HttpRequest, *args: Any) -> Any:
        row = super().get_object(request, *args)
        if row:
            self.prepare([row])
        return row

    def prepare(self, rows: Sequence[Any]) -> None:
        """What the workers say, in one query."""
        fleet = overview.fleet()
        for row in rows:
            row.seen = fleet.upstreams.get(row.name, UpstreamSeen(row.name)) if fleet.alive else None

    @admin.display(description="as workers find it")
    def health(self, row: Any) -> str:
        if row.seen is None:
            return "unknown: no worker"
        if not row.enabled:
            return "paused here"
        return f"{board.describe(row.seen)}{row.seen.because}"

    @admin.display(description="in flight")
    def in_flight(self, row: Any) -> int | str:
        return row.seen.in_flight if row.seen else ""

    def consequences(self, rows: QuerySet[Any]) -> list[str]:
        seen = overview.fleet().upstreams
        in_flight = sum(seen[row.name].in_flight for row in rows if row.name in seen)
        return [f"{in_flight} requests are in flight there now."]


@admin.register(LogEntry)
class LogEntryAdmin(LookOnlyAdmin):
    """Who did what in the admin. Nobody edits it here."""

    list_display = ("action_time", "user", "content_type", "object_repr", "message")
    list_select_related = ("user", "content_type")
    list_filter = ("action_flag",)
    search_fields = ("object_id", "user__username")
    ordering = ("-pk",)
    sortable_by = ()

    @admin.display(description="what")
    def message(self, entry: Any) -> str:
        return str(entry.get_change_message() or entry.get_action_flag_display())
