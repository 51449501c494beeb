"""Projects and keys in the admin, a key's secret shown once, when it is made; and who changed what."""

from collections.abc import Sequence
from typing import Any

from django.contrib import admin, messages
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest

from apps.api.admin import ListAdmin, LookOnlyAdmin, Question, asking_first
from apps.projects import audit
from apps.projects.audit import AuditEntry
from apps.projects.limits import Limit
from apps.projects.models import ApiKey, Project
from apps.projects.scopes import Scope


def _ask_to_disable(page: Any, _: HttpRequest, projects: QuerySet[Any]) -> Question:
    on = projects.filter(enabled=True)
    keys = ApiKey.objects.usable().filter(project__in=on).count()
    happens = [
        f"{on.count()} of {projects.count()} are enabled now.",
        f"{keys} keys open nothing any more, and members cannot sign in to these projects, until they are enabled.",
    ]
    return Question("Disable these projects?", [*happens, *page.consequences(projects)], "Disable")


def _ask_to_revoke(page: Any, _: HttpRequest, keys: QuerySet[Any]) -> Question:
    alive = keys.filter(revoked_at=None)
    happens = [
        f"{alive.count()} of {keys.count()} work now, and will never work again. This cannot be undone.",
        "Batches that were submitted with them send no more lines: what is left becomes authentication_error.",
    ]
    return Question("Revoke these keys?", [*happens, *page.consequences(alive)], "Revoke the keys")


@admin.register(Project)
class ProjectAdmin(ListAdmin):
    list_display: tuple[str, ...] = ("name", "id", "enabled", "created_at")
    list_filter = ("enabled",)
    search_fields = ("name", "id")
    readonly_fields = ("id", "created_at")
    fieldsets = (
        (None, {"fields": ("name", "id", "enabled", "created_at", "members")}),
        (
            "What it may have at most",
            {
                "fields": tuple(f"max_{limit.value}" for limit in Limit),
                "description": "Empty: what the settings PROJECT_MAX_… say, which is no limit unless they are set.",
            },
        ),
    )
    filter_horizontal = ("members",)
    actions: tuple[str, ...] = ("enable", "disable")

    def consequences(self, projects: QuerySet[Any]) -> list[str]:
        """What disabling them also means, for who knows more than this app."""
        return []

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Its rows alone would leave its objects behind: `manage.py erase_project` removes both."""
        return False

    def save_model(self, request: HttpRequest, obj: Project, form: Any, change: bool) -> None:
        form.before = Project.objects.get(pk=obj.pk).shown() if change else {}
        super().save_model(request, obj, form, change)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """After the members are saved; the whole page is one transaction."""
        super().save_related(request, form, formsets, change)
        pk, after = form.instance.pk, Project.objects.get(pk=form.instance.pk).shown()
        if form.before != after:
            audit.record("project.changed" if change else "project.created", pk, pk, before=form.before, after=after)

    @admin.action(description="Enable", permissions=["change"])
    def enable(self, request: HttpRequest, projects: QuerySet[Any]) -> None:
        self._switch(request, projects, enabled=True)

    @admin.action(description="Disable: its keys open nothing", permissions=["change"])
    @asking_first(_ask_to_disable)
    def disable(self, request: HttpRequest, projects: QuerySet[Any]) -> None:
        self._switch(request, projects, enabled=False)

    def _switch(self, request: HttpRequest, projects: QuerySet[Any], *, enabled: bool) -> None:
        word = "enabled" if enabled else "disabled"
        for project in projects.exclude(enabled=enabled):
            with transaction.atomic():
                Project.objects.filter(pk=project.pk).update(enabled=enabled)
                self.log_change(request, project, f"{word.capitalize()}.")
                changes = {"before": {"enabled": not enabled}, "after": {"enabled": enabled}}
                audit.record(f"project.{word}", project.pk, project.pk, **changes)
            self.message_user(request, f"“{project}” is {word}.")


@admin.register(ApiKey)
class ApiKeyAdmin(ListAdmin):
    list_display: tuple[str, ...] = (
        "__str__",
        "name",
        "project",
        "scope",
        "created_at",
        "last_used_at",
        "expires_at",
        "revoked_at",
    )
    list_select_related = ("project",)
    search_fields = ("prefix", "name", "project__name")
    readonly_fields = ("prefix", "created_at", "last_used_at", "revoked_at")
    actions: tuple[str, ...] = ("revoke",)

    def consequences(self, keys: QuerySet[Any]) -> list[str]:
        """What revoking them also means, for who knows more than this app."""
        return []

    def get_readonly_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> Any:
        return (*self.readonly_fields, "project") if obj else self.readonly_fields

    def save_model(self, request: HttpRequest, obj: ApiKey, form: Any, change: bool) -> None:
        if change:
            before = ApiKey.objects.get(pk=obj.pk).shown()
            super().save_model(request, obj, form, change)
            audit.record("key.changed", obj.project_id, obj.prefix, before=before, after=obj.shown())
            return
        made, text = ApiKey.objects.create_for(obj.project, obj.name, scope=Scope(obj.scope), expires_at=obj.expires_at)
        obj.pk, obj.prefix = made.pk, made.prefix
        messages.warning(request, f"Copy this key now, it is never shown again: {text}")

    def delete_model(self, request: HttpRequest, obj: ApiKey) -> None:
        audit.record("key.deleted", obj.project_id, obj.prefix, before=obj.shown())
        super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        with transaction.atomic():
            for key in queryset:
                self.delete_model(request, key)

    @admin.action(description="Revoke", permissions=["change"])
    @asking_first(_ask_to_revoke)
    def revoke(self, request: HttpRequest, keys: QuerySet[Any]) -> None:
        revoked = ApiKey.objects.filter(pk__in=[key.pk for key in keys]).revoke()
        for key in revoked:
            self.log_change(request, key, "Revoked.")
        self.message_user(request, f"{len(revoked)} keys revoked.")


@admin.register(AuditEntry)
class AuditEntryAdmin(LookOnlyAdmin):
    """Who changed what, through the API, the console, the admin and the commands. Postgres keeps it as it is."""

    list_display = ("at", "who", "action", "object_id", "what", "project_id", "request_id")
    list_filter = ("actor_kind",)
    search_fields = ("project_id__startswith", "object_id__startswith", "action__startswith", "request_id__startswith")
    search_help_text = (
        "The beginning of a project's or an object's id, of an action such as key.revoked, of a request's id."
    )
    ordering = ("-id",)
    sortable_by = ()

    def prepare(self, rows: Sequence[Any]) -> None:
        audit.tell_names(rows)
