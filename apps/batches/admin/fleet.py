"""Workers and sweeps in the admin, to look at."""

from typing import Any

from django.contrib import admin

from apps.api.admin import LookOnlyAdmin
from apps.batches.models import Sweep, Worker


@admin.register(Worker)
class WorkerAdmin(LookOnlyAdmin):
    list_display = ("name", "started_at", "seen_at", "in_flight")
    ordering = ("-seen_at",)
    fields = ("name", "started_at", "seen_at", "report")

    @admin.display(description="requests in flight, when last seen")
    def in_flight(self, worker: Any) -> int:
        return sum(glance["in_flight"] for glance in worker.report.get("upstreams", {}).values())


@admin.register(Sweep)
class SweepAdmin(LookOnlyAdmin):
    list_display = ("name", "ended_at", "seconds", "error")
    ordering = ("name",)
