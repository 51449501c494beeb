"""Django's entry for the pages and templates of the admin that need every app."""

from django.apps import AppConfig


class OperationsConfig(AppConfig):
    name = "apps.operations"
