"""Batches in the admin, to look at."""

from django.contrib import admin

from apps.api.admin import LookOnlyAdmin
from apps.batches.models import Batch


@admin.register(Batch)
class BatchAdmin(LookOnlyAdmin):
    list_display = ("id", "project", "status", "total", "completed", "failed", "created_at", "expires_at")
    list_select_related = ("project",)
    list_filter = ("status",)
    search_fields = ("id",)
