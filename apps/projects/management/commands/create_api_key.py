"""`manage.py create_api_key PROJECT`: makes a key and prints it, once."""

import uuid
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.projects import audit
from apps.projects.models import ApiKey, Project
from apps.projects.scopes import Scope


class Command(BaseCommand):
    help = "Create an API key for a project, given by id or by name, and print it. It is never shown again."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("project", help="the project's id, or its name if only one has it")
        parser.add_argument("--name", default="", help="what the key is for")
        scopes = "; ".join(map(str, Scope.labels))
        parser.add_argument("--scope", choices=Scope.values, default=Scope.ADMIN.value, help=f"{scopes} (the default)")

    def handle(self, *_: Any, project: str, name: str, scope: str, **__: Any) -> None:
        audit.acting(audit.Actor.COMMAND, "create_api_key")
        _key, text = ApiKey.objects.create_for(_find(project), name, scope=Scope(scope))
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
