"""Projects and keys in the admin; a key's secret is shown once, when it is made."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from apps.api.admin import ListAdmin, Question, asking_first
from apps.projects.limits import Limit
from apps.projects.models import ApiKey, Project


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
            Project.objects.filter(pk=project.pk).update(enabled=enabled)
            self.log_change(request, project, f"{word.capitalize()}.")
            self.message_user(request, f"“{project}” is {word}.")


@admin.register(ApiKey)
class ApiKeyAdmin(ListAdmin):
    list_display: tuple[str, ...] = (
        "__str__",
        "name",
        "project",
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
            return super().save_model(request, obj, form, change)
        created, text = ApiKey.objects.create_for(obj.project, obj.name)
        ApiKey.objects.filter(pk=created.pk).update(expires_at=obj.expires_at)
        obj.pk, obj.prefix = created.pk, created.prefix
        messages.warning(request, f"Copy this key now, it is never shown again: {text}")
        return None

    @admin.action(description="Revoke", permissions=["change"])
    @asking_first(_ask_to_revoke)
    def revoke(self, request: HttpRequest, keys: QuerySet[Any]) -> None:
        chosen = list(keys.filter(revoked_at=None))
        alive = ApiKey.objects.filter(pk__in=[key.pk for key in chosen], revoked_at=None)
        revoked = alive.update(revoked_at=timezone.now())
        for key in chosen:
            self.log_change(request, key, "Revoked.")
        self.message_user(request, f"{revoked} keys revoked.")
