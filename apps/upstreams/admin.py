"""Upstreams in the admin: edited, switched on and off, and asked whether they answer."""

from collections.abc import Iterable
from typing import Any, ClassVar

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.views.decorators.debug import sensitive_post_parameters

from apps.api.admin import ListAdmin, Question, asking_first
from apps.upstreams import catalogue, trial
from apps.upstreams.encryption import Undecryptable
from apps.upstreams.forms import UpstreamForm
from apps.upstreams.models import KeyState, Upstream
from apps.upstreams.trial import Verdict

LEVELS = {Verdict.GOOD: messages.SUCCESS, Verdict.DOUBTFUL: messages.WARNING, Verdict.BAD: messages.ERROR}
KEY_FIELDS = ("new_api_key", "forget_api_key")


def _ask_to_disable(page: Any, _: HttpRequest, rows: QuerySet[Any]) -> Question:
    on = rows.filter(enabled=True)
    left = Upstream.objects.filter(enabled=True).exclude(pk__in=rows.values("pk")).count()
    happens = [
        f"{on.count()} of {rows.count()} are in use now. They get no more lines within seconds; lines they are "
        "answering finish.",
        f"{left} other upstreams stay in use. Lines of a model that one of these serves go there; the others wait, "
        "and fail only at their batch's deadline.",
    ]
    return Question("Pause these upstreams?", [*happens, *page.consequences(on)], "Pause")


@admin.register(Upstream)
class UpstreamAdmin(ListAdmin):
    form = UpstreamForm
    list_display: tuple[str, ...] = (
        "name",
        "base_url",
        "models",
        "enabled",
        "max_in_flight",
        "stored_key",
        "updated_at",
    )
    list_filter = ("enabled",)
    search_fields = ("name", "base_url", "model_patterns")
    readonly_fields: ClassVar[tuple[str, ...]] = ("stored_key", "created_at", "updated_at")
    actions: tuple[str, ...] = ("enable", "disable", "test")
    fieldsets = (
        (
            None,
            {
                "fields": ("name", "base_url", "enabled"),
                "description": "Workers follow a change within five seconds. As soon as there is one upstream here, "
                "INFERENCE_BASE_URL is not used any more.",
            },
        ),
        ("API key", {"fields": ("stored_key", *KEY_FIELDS)}),
        ("Load", {"fields": ("model_patterns", "max_in_flight")}),
        ("Patience", {"fields": ("connect_timeout", "read_timeout")}),
        ("History", {"fields": ("created_at", "updated_at")}),
    )

    @admin.display(description="models")
    def models(self, row: Upstream) -> str:
        return ", ".join(row.patterns)

    @admin.display(description="stored key")
    def stored_key(self, row: Upstream) -> str:
        state = row.key_state
        return f"{state}; not used until then" if state is KeyState.UNREADABLE else state

    def consequences(self, rows: QuerySet[Any]) -> list[str]:
        """What pausing them also means, for who knows more than this app."""
        return []

    @admin.action(description="Enable", permissions=["change"])
    def enable(self, request: HttpRequest, rows: QuerySet[Upstream]) -> None:
        self._switch(request, rows, enabled=True)

    @admin.action(description="Pause: no more lines", permissions=["change"])
    @asking_first(_ask_to_disable)
    def disable(self, request: HttpRequest, rows: QuerySet[Upstream]) -> None:
        self._switch(request, rows, enabled=False)

    @admin.action(description="Test now", permissions=["change"])
    def test(self, request: HttpRequest, rows: QuerySet[Upstream]) -> None:
        self._try(request, rows)

    def test_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """POST: tests the upstream as it is stored, outside the transaction that the admin's own pages run in."""
        row = self.get_object(request, object_id)
        if row is None:
            raise Http404
        if not self.has_change_permission(request, row):
            raise PermissionDenied
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        self._try(request, [row])
        return redirect("admin:upstreams_upstream_change", row.pk)

    def get_urls(self) -> list[URLPattern]:
        test = path(
            "<path:object_id>/test/", self.admin_site.admin_view(self.test_view), name="upstreams_upstream_test"
        )
        return [test, *super().get_urls()]

    def get_fieldsets(self, request: HttpRequest, obj: Upstream | None = None) -> Any:
        """Without the fields to enter a key for those who may only look."""
        fieldsets = super().get_fieldsets(request, obj)
        if self.has_change_permission(request, obj) if obj else self.has_add_permission(request):
            return fieldsets
        return [(title, {**options, "fields": _without_key_fields(options["fields"])}) for title, options in fieldsets]

    @method_decorator(sensitive_post_parameters("new_api_key"))
    def changeform_view(self, *args: Any, **kwargs: Any) -> Any:
        return super().changeform_view(*args, **kwargs)

    def _switch(self, request: HttpRequest, rows: QuerySet[Upstream], *, enabled: bool) -> None:
        word = "enabled" if enabled else "disabled"
        for row in rows.exclude(enabled=enabled):
            Upstream.objects.filter(pk=row.pk).update(enabled=enabled, updated_at=timezone.now())
            self.log_change(request, row, f"{word.capitalize()}.")
            self.message_user(request, f"“{row}” is {word}.")

    def _try(self, request: HttpRequest, rows: Iterable[Upstream]) -> None:
        asked = []
        for row in rows:
            self.log_change(request, row, "Tested.")
            try:
                asked.append(catalogue.from_row(row))
            except Undecryptable:
                self.message_user(request, f"“{row}” was not asked: its API key {KeyState.UNREADABLE}", messages.ERROR)
        for tried in trial.ask(asked):
            self.message_user(request, tried.text, LEVELS[tried.verdict])


def _without_key_fields(fields: Iterable[Any]) -> list[Any]:
    return [field for field in fields if field not in KEY_FIELDS]
