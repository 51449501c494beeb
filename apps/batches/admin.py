"""Batches in the admin, to look at."""

from django.contrib import admin
from django.http import HttpRequest

from apps.batches.models import Batch


@admin.register(Batch)
class BatchAdmin(admin.ModelAdmin):
    list_display = ("id", "project", "status", "total", "completed", "failed", "created_at", "expires_at")
    list_select_related = ("project",)
    list_filter = ("status",)
    search_fields = ("id",)
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Batch | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Batch | None = None) -> bool:
        return False
