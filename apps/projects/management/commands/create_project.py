"""`manage.py create_project NAME`: makes a project and prints its id, and a first key if that is asked for."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db import transaction

from apps.projects import audit
from apps.projects.models import ApiKey, Project


class Command(BaseCommand):
    help = "Create a project (a tenant) and print its id, which create_api_key takes."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name")
        parser.add_argument(
            "--with-key", action="store_true", help="make an API key as well; its line comes second, and never again"
        )

    @transaction.atomic
    def handle(self, *_: Any, name: str, with_key: bool, **__: Any) -> None:
        audit.acting(audit.Actor.COMMAND, "create_project")
        project = Project.objects.create(name=name)
        audit.record("project.created", project.pk, project.pk, after=project.shown())
        self.stdout.write(str(project.pk))
        if with_key:
            _key, text = ApiKey.objects.create_for(project)
            self.stdout.write(text)
