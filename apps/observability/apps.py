"""Django's entry for what operators see."""

from django.apps import AppConfig


class ObservabilityConfig(AppConfig):
    name = "apps.observability"

    def ready(self) -> None:
        from apps.observability import checks  # noqa: F401, PLC0415  registering a check is importing it
