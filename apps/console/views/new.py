"""A new batch: the page that checks a file in the browser, the upload, and what the API calls create."""

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import redirect
from django.views.decorators.http import require_POST, require_safe
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.api.errors import InvalidRequest
from apps.batches import tasks
from apps.batches.pipeline.submit import submit
from apps.batches.serializers import parse_create
from apps.console.access import Viewer
from apps.console.authentication import ConsoleAuthentication
from apps.console.pages import page, show
from apps.console.progress import last_model
from apps.files import uploads
from apps.files.parsers import WholeMultiPartParser
from apps.files.serializers import file_json, parse_upload
from apps.projects.authentication import project_of


@require_safe
@page
def new(request: HttpRequest, viewer: Viewer) -> HttpResponseBase:
    limits = {
        "lines": settings.MAX_BATCH_LINES,
        "line_bytes": settings.MAX_LINE_BYTES,
        "upload_bytes": settings.MAX_UPLOAD_BYTES,
        "endpoints": settings.ALLOWED_ENDPOINTS,
    }
    return show(request, viewer, "new", limits=limits, model=last_model(viewer.project) or "")


class UploadView(APIView):
    """PUT of a form as POST /v1/files takes it, with a session instead of a key; PUT, so that CSRF leaves the body."""

    authentication_classes = (ConsoleAuthentication,)
    permission_classes = (IsAuthenticated,)  # the authentication knows what the session's key may do
    parser_classes = (WholeMultiPartParser,)

    def put(self, request: Request) -> Response:
        spool, expires_after = parse_upload(request)
        return Response(file_json(uploads.store_upload(project_of(request), spool, expires_after)))


@require_POST
@page
def create(request: HttpRequest, viewer: Viewer) -> HttpResponseBase:
    """The batch's own page, also when its input was refused: there the bad lines are listed."""
    name = request.POST.get("name", "").strip()
    data = {
        "input_file_id": request.POST.get("input_file_id", ""),
        "endpoint": request.POST.get("endpoint", ""),
        "metadata": {"name": name} if name else {},
    }
    wanted = parse_create(data, viewer.project, api_key=viewer.key, submitted_by=viewer.user)
    try:
        batch_id = submit(wanted).pk
    except InvalidRequest as refused:
        if "batch_id" not in refused.extra:
            raise
        messages.error(request, "The file was not accepted. Nothing was sent.")
        return redirect("console:batch", refused.extra["batch_id"])
    tasks.begin(batch_id)
    return redirect("console:batch", batch_id)
