"""Django's entry for the upstreams."""

from django.apps import AppConfig


class UpstreamsConfig(AppConfig):
    name = "apps.upstreams"

    def ready(self) -> None:
        from apps.upstreams import checks  # noqa: F401, PLC0415  registering a check is importing it
