"""The API reference, to read and to try; it needs no key and tells nothing of anybody's data."""

from contextlib import suppress
from itertools import groupby
from typing import Any

import orjson
from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from apps.console.access import NoProject, viewer_of
from apps.reference.calls import calls, objects

QUESTIONS = ("What is a batch API for?", "Name three prime numbers.", "Say hello in Finnish.")
SHOWN = ("Batch", "File", "Upload", "UploadPart", "BatchError", "Error")


@require_safe
def reference(request: HttpRequest) -> HttpResponse:
    """What every call takes and answers, and the four that make a first batch, to be tried on the page."""
    viewer = None
    with suppress(NoProject):
        viewer = viewer_of(request)
    described = _document()
    everything = sorted(calls(described), key=lambda call: call.path)
    members = objects(described)
    context = {
        "viewer": viewer,
        "groups": [(name, list(some)) for name, some in groupby(everything, key=lambda call: call.group)],
        "objects": [(name, described["components"]["schemas"][name], members[name]) for name in SHOWN],
        "endpoints": sorted(settings.ALLOWED_ENDPOINTS),
    }
    return render(request, "reference/reference.html", context)


@require_safe
def openapi(_: HttpRequest) -> HttpResponse:
    """The document; any page or tool may read it."""
    response = JsonResponse(_document())
    response["Access-Control-Allow-Origin"] = "*"
    return response


@require_safe
def example(request: HttpRequest) -> HttpResponse:
    """A small input to upload: three questions for `?model=`."""
    model = request.GET.get("model", "")[:256] or "your-model"
    lines = (_line(number, question, model) for number, question in enumerate(QUESTIONS, 1))
    headers = {"Content-Disposition": 'attachment; filename="example.jsonl"'}
    return HttpResponse(b"".join(lines), content_type="application/jsonl", headers=headers)


def _document() -> dict[str, Any]:
    from apps.reference.schema import document  # noqa: PLC0415  loads drf-spectacular, for those who ask

    return document()


def _line(number: int, question: str, model: str) -> bytes:
    body = {"model": model, "messages": [{"role": "user", "content": question}], "max_tokens": 60}
    line = {"custom_id": f"question-{number}", "method": "POST", "url": settings.ALLOWED_ENDPOINTS[0], "body": body}
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)
