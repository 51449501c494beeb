"""`manage.py create_project NAME`: makes a project and prints its id."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from apps.projects.models import Project


class Command(BaseCommand):
    help = "Create a project (a tenant) and print its id, which create_api_key takes."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name")

    def handle(self, *_: Any, name: str, **__: Any) -> None:
        self.stdout.write(str(Project.objects.create(name=name).id))
