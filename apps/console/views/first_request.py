"""A first batch from one's own code, with this server's address filled in."""

import re

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase
from django.views.decorators.http import require_safe

from apps.console.access import Viewer
from apps.console.pages import page, show
from apps.console.progress import last_model

_PLAIN = re.compile(r"[\w.:/@+-]+")
"""A model's name comes out of somebody's input, and what stands here is pasted into shells."""


@require_safe
@page
def first_request(request: HttpRequest, viewer: Viewer) -> HttpResponseBase:
    model = last_model(viewer.project) or ""
    model = model if _PLAIN.fullmatch(model) else "your-model"
    context = {"base_url": f"{_origin(request)}/v1", "model": model, "endpoint": settings.ALLOWED_ENDPOINTS[0]}
    return show(request, viewer, "first_request", **context)


def _origin(request: HttpRequest) -> str:
    """As the browser sees it: behind a proxy that ends TLS, only CSRF_TRUSTED_ORIGINS knows that it is https."""
    secure = f"https://{request.get_host()}"
    return secure if request.is_secure() or secure in settings.CSRF_TRUSTED_ORIGINS else f"http://{request.get_host()}"
