"""Django's entry for files and uploads."""

from django.apps import AppConfig


class FilesConfig(AppConfig):
    name = "apps.files"

    def ready(self) -> None:
        from apps.files import checks  # noqa: F401, PLC0415  registering a check is importing it
