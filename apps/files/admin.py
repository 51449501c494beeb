"""Files in the admin, to look at."""

from django.contrib import admin

from apps.api.admin import LookOnlyAdmin
from apps.files.models import File


@admin.register(File)
class FileAdmin(LookOnlyAdmin):
    list_display = ("id", "project", "filename", "purpose", "bytes", "created_at", "expires_at", "deleted_at")
    list_select_related = ("project",)
    list_filter = ("purpose",)
    search_fields = ("id__startswith",)
    search_help_text = "A file's id, or its beginning."
    ordering = ("-created_at", "-id")
    sortable_by = ()
