"""`manage.py erase_project ID`: removes a project with everything that it has, for good."""

import uuid
from typing import Any

import redis
from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.api.errors import StorageError
from apps.batches.models import Batch
from apps.files.models import File, Upload
from apps.operations import erase
from apps.projects import audit
from apps.projects.models import Project
from apps.webhooks.models import WebhookEndpoint

HALF_DONE = "The project is disabled and its batches are cancelled; run this again to go on."


class Command(BaseCommand):
    help = "Remove a project with its batches, files, uploads, keys and webhooks, and every object in the storage."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("project", type=uuid.UUID, help="the project's id")
        parser.add_argument("--yes", action="store_true", help="do not ask for the project's name")
        parser.add_argument(
            "--wait", type=float, default=60, help="seconds to wait for answers to lines in flight (default: 60)"
        )
        parser.add_argument("--missing-ok", action="store_true", help="even if none of its objects is in the storage")

    def handle(self, *_: Any, project: uuid.UUID, yes: bool, **options: Any) -> None:
        audit.acting(audit.Actor.COMMAND, "erase_project")
        found = Project.objects.filter(pk=project).first()
        if found is None:
            if not erase.was_erased(project):
                raise CommandError(f"No project has the id {project}")
            self.stdout.write("erased before; nothing of it is left")
            return
        if not yes:
            self._ask(found)
        try:
            removed = erase.erase(found, wait_seconds=options["wait"], missing_ok=options["missing_ok"])
        except erase.WrongStorage:
            raise CommandError(
                "None of the project's objects is in this storage; nothing was done. Is STORAGE_DIR the one of the web "
                "and the workers? If the objects are lost, say --missing-ok"
            ) from None
        except erase.LinesInFlight as lines:
            raise CommandError(f"Nothing was removed: lines are still in flight of {lines}. {HALF_DONE}") from None
        except erase.StillInUse:
            raise CommandError(f"Requests that began before go on adding to it. {HALF_DONE}") from None
        except (StorageError, redis.RedisError) as error:
            raise CommandError(
                f"Not all was removed, because of the storage or Redis: {error!r}. {HALF_DONE}"
            ) from None
        for name, number in sorted(removed.items()):
            self.stdout.write(f"{name}: {number}")
        self.stdout.write(f"erased {project}")

    def _ask(self, project: Project) -> None:
        """Raises CommandError unless somebody types the project's name."""
        counts = (
            f"{model._default_manager.filter(project=project).count()} {model._meta.verbose_name_plural}"
            for model in (Batch, File, Upload, WebhookEndpoint)
        )
        self.stdout.write(f"{project.name}: {', '.join(counts)}. This cannot be undone.")
        if input("Type the project's name to erase it: ") != project.name:
            raise CommandError("That is not its name; nothing was removed")
