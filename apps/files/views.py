"""The five endpoints of /v1/files (wire.md §4)."""

from django.http import HttpResponseBase
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.api import pagination
from apps.files import uploads
from apps.files.downloads import download
from apps.files.models import File, Purpose
from apps.files.parsers import WholeMultiPartParser
from apps.files.serializers import file_json, parse_upload
from apps.projects.authentication import project_of

MOST_FILES = 10_000


class FilesView(APIView):
    parser_classes = (WholeMultiPartParser,)

    def post(self, request: Request) -> Response:
        spool, expires_after = parse_upload(request)
        return Response(file_json(uploads.store_upload(project_of(request), spool, expires_after)))

    def get(self, request: Request) -> Response:
        query, project = request.query_params, project_of(request)
        limit = pagination.parse_limit(query.get("limit"), default=MOST_FILES, most=MOST_FILES)
        order = pagination.parse_order(query.get("order"))
        rows = File.objects.live().filter(project=project)
        if purpose := query.get("purpose"):
            rows = rows.filter(purpose=purpose) if purpose in Purpose.values else rows.none()
        after = uploads.find_cursor(project, query.get("after"))
        found, has_more = pagination.page(rows, after=after, limit=limit, order=order)
        return Response(pagination.list_body([file_json(row) for row in found], has_more=has_more))


class FileView(APIView):
    def get(self, request: Request, file_id: str) -> Response:
        return Response(file_json(uploads.find_live(project_of(request), file_id)))

    def delete(self, request: Request, file_id: str) -> Response:
        stored = uploads.find_live(project_of(request), file_id)
        uploads.delete(stored)
        return Response({"id": stored.id, "object": "file", "deleted": True})


class FileContentView(APIView):
    def get(self, request: Request, file_id: str) -> HttpResponseBase:
        stored = uploads.find_live(project_of(request), file_id)
        return download(stored, request.headers.get("range"))
