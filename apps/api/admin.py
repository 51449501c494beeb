"""What admins of rows that the pipeline owns have in common."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest


class LookOnlyAdmin(admin.ModelAdmin):
    """Rows to look at: only the pipeline and the API write them."""

    show_full_result_count = False  # a COUNT(*) over a big table, for a number nobody needs

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
