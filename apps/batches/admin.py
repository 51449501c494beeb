"""Batches and workers in the admin, to look at."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from apps.api.admin import LookOnlyAdmin
from apps.batches.models import Batch, Worker
from apps.batches.reasons import waiting_reason
from apps.batches.states import WaitingReason


@admin.register(Batch)
class BatchAdmin(LookOnlyAdmin):
    list_display = (
        "id",
        "project",
        "status",
        "waiting_reason",
        "total",
        "completed",
        "failed",
        "created_at",
        "expires_at",
    )
    list_select_related = ("project",)
    list_filter = ("status",)
    search_fields = ("id",)

    def get_queryset(self, request: HttpRequest) -> "QuerySet[Batch]":
        batches: QuerySet[Batch] = super().get_queryset(request)
        return batches.annotate(waiting=waiting_reason())

    @admin.display(description="waits because")
    def waiting_reason(self, batch: Any) -> str:
        return WaitingReason(batch.waiting).label if batch.waiting else ""


@admin.register(Worker)
class WorkerAdmin(LookOnlyAdmin):
    list_display = ("name", "started_at", "seen_at")
    ordering = ("-seen_at",)
