"""Files in the admin, to look at."""

from django.contrib import admin
from django.http import HttpRequest

from apps.files.models import File


@admin.register(File)
class FileAdmin(admin.ModelAdmin):
    list_display = ("id", "project", "filename", "purpose", "bytes", "created_at", "expires_at", "deleted_at")
    list_select_related = ("project",)
    list_filter = ("purpose",)
    search_fields = ("id",)
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: File | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: File | None = None) -> bool:
        return False
