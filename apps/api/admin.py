"""What the pages of the admin have in common: rows to look at, lists that do not count, actions that ask first."""

from collections.abc import Callable, Sequence
from functools import cached_property, wraps
from typing import Any, NamedTuple

from django.contrib import admin
from django.contrib.admin import ShowFacets
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.utils.http import url_has_allowed_host_and_scheme

from apps.api.pagination import counted

MOST_LISTED = 10_000
"""A list can be paged down so far. Who looks for something older searches for it."""
MOST_NAMED = 20
CONFIRMED = "confirmed"


class BoundedPaginator(Paginator):
    """Counts no further than MOST_LISTED: a COUNT(*) over millions of rows would be most of a page's time."""

    @cached_property
    def count(self) -> int:
        rows: Any = self.object_list
        return counted(rows, MOST_LISTED)


class ListAdmin(admin.ModelAdmin):
    """A list that costs the same however many rows there are."""

    show_full_result_count = False
    show_facets = ShowFacets.NEVER  # a COUNT for each filter
    paginator = BoundedPaginator
    list_per_page = 50
    list_max_show_all = 0

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """The rows of the page that is shown are completed by `prepare`, together."""
        listed = super().get_changelist_instance(request)
        listed.result_list = list(listed.result_list)
        self.prepare(listed.result_list)
        return listed

    def prepare(self, rows: Sequence[Any]) -> None:
        """For what a column shows beyond the row itself: a query for all of the page, never one for each row."""


class LookOnlyAdmin(ListAdmin):
    """Rows to look at: only the pipeline and the API write them."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class Question(NamedTuple):
    """What a page asks before it acts: what will happen, with counts; `form` holds values that the action needs."""

    title: str
    happens: list[str]
    button: str
    form: Any = None


Asks = Callable[[Any, HttpRequest, Any], Question]
"""What to ask before an action on a queryset. Called again when the answer comes, for its form."""


def asking_first(asks: Asks) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """An action that shows a page with what will happen, and happens when that page's button is pressed.

    With a form in the question, the action gets its cleaned values as a third argument.
    """

    def decorate(action: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(action)
        def asked(self: Any, request: HttpRequest, rows: QuerySet[Any]) -> HttpResponse:
            question = asks(self, request, rows)
            is_confirmed = request.POST.get(CONFIRMED) == action.__name__
            if not is_confirmed or (question.form is not None and not question.form.is_valid()):
                return _ask(self, request, rows, action.__name__, question)
            values = () if question.form is None else (question.form.cleaned_data,)
            action(self, request, rows, *values)
            return redirect(_came_from(request))

        return asked

    return decorate


def _ask(page: Any, request: HttpRequest, rows: QuerySet[Any], name: str, question: Question) -> HttpResponse:
    chosen = list(rows[: MOST_NAMED + 1])
    context = {
        **page.admin_site.each_context(request),
        "title": question.title,
        "opts": page.opts,
        "question": question,
        "action": name,
        "chosen": chosen[:MOST_NAMED],
        "more": len(chosen) > MOST_NAMED,
        "keys": request.POST.getlist("_selected_action"),
        "back": _came_from(request),
    }
    return TemplateResponse(request, "admin/confirm.html", context)


def _came_from(request: HttpRequest) -> str:
    """The page that the action was chosen on, of this host only: the list, or a row's own page."""
    back = request.POST.get("back", "")
    is_ours = url_has_allowed_host_and_scheme(back, allowed_hosts=None) and back.startswith("/")
    return back if is_ours else request.get_full_path()
