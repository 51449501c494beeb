"""Django's entry for the API dialect."""

from django.apps import AppConfig


class ApiConfig(AppConfig):
    name = "apps.api"

    def ready(self) -> None:
        from apps.api import checks  # noqa: F401, PLC0415  registering a check is importing it
