"""`manage.py create_api_key PROJECT`: makes a key and prints it, once."""

import uuid
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.projects.models import ApiKey, Project


class Command(BaseCommand):
    help = "Create an API key for a project, given by id or by name, and print it. It is never shown again."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("project", help="the project's id, or its name if only one has it")
        parser.add_argument("--name", default="", help="what the key is for")

    def handle(self, *_: Any, project: str, name: str, **__: Any) -> None:
        _key, text = ApiKey.objects.create_for(_find(project), name)
        self.stdout.write(text)


def _find(project: str) -> Project:
    try:
        found = Project.objects.filter(id=uuid.UUID(project))
    except ValueError:
        found = Project.objects.filter(name=project)
    match list(found[:2]):
        case [only]:
            return only
        case []:
            raise CommandError(f"No project has the id or name {project!r}")
        case _:
            raise CommandError(f"Several projects are called {project!r}; give the id")
