"""Signing in and out, and which project one looks at."""

from django.contrib import messages
from django.contrib.auth import login, logout
from django.contrib.auth.forms import AuthenticationForm
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST

from apps.api.errors import NotFound
from apps.console import access
from apps.console.access import NoProject, Viewer
from apps.console.pages import error_page, page


@sensitive_post_parameters("password", "api_key")
@require_http_methods(["GET", "POST"])
def sign_in(request: HttpRequest) -> HttpResponse:
    """With a user's name and password, or with a key, whichever form was sent."""
    form, key_error = AuthenticationForm(request), ""
    if request.method == "POST" and "api_key" in request.POST:
        if access.sign_in_with_key(request, request.POST["api_key"]):
            return redirect(_next(request))
        key_error = "This key opens nothing: it is mistyped, revoked or expired, or its project is disabled."
    elif request.method == "POST":
        form = AuthenticationForm(request, data=request.POST)
        if form.is_valid():
            logout(request)  # a key's session does not become a user's
            login(request, form.get_user())
            return redirect(_next(request))
    elif _is_signed_in(request):
        return redirect("console:batches")
    context = {"form": form, "key_error": key_error, "next": _next(request)}
    return render(request, "console/sign_in.html", context, status=403 if form.errors or key_error else 200)


@require_POST
def sign_out(request: HttpRequest) -> HttpResponse:
    logout(request)
    return redirect("console:sign_in")


@require_POST
@page
def project(request: HttpRequest, viewer: Viewer) -> HttpResponseBase:
    if viewer.user is None or not access.choose_project(request, request.POST.get("project", "")):
        raise NotFound("There is no such project")
    messages.success(request, "You now look at another project.")
    return redirect("console:batches")


@page
def unknown(request: HttpRequest, viewer: Viewer, rest: str) -> HttpResponseBase:
    return error_page(request, NotFound(f"The console has no page at /console/{rest[:200]}"), viewer)


def _is_signed_in(request: HttpRequest) -> bool:
    try:
        return access.viewer_of(request) is not None
    except NoProject:
        return False


def _next(request: HttpRequest) -> str:
    """Where to go on: a page of this server, or the front page."""
    wanted = request.POST.get("next") or request.GET.get("next", "")
    here = {request.get_host()}
    is_safe = url_has_allowed_host_and_scheme(wanted, allowed_hosts=here, require_https=request.is_secure())
    return wanted if is_safe else reverse("console:batches")
