"""`manage.py rotate_upstream_keys`: encrypts the stored API keys anew, after SECRET_KEY was changed."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from apps.upstreams.encryption import Undecryptable, rotate
from apps.upstreams.models import Upstream


class Command(BaseCommand):
    help = "Encrypt the upstreams' API keys under the present SECRET_KEY; then SECRET_KEY_FALLBACKS can be emptied."

    def handle(self, *args: Any, **options: Any) -> None:
        unreadable = []
        for row in Upstream.objects.exclude(api_key_encrypted=""):
            try:
                token = rotate(row.api_key_encrypted)
            except Undecryptable:
                unreadable.append(row.name)
                continue
            # Guarded: a key that was entered in this moment is newer than the one that was read.
            Upstream.objects.filter(pk=row.pk, api_key_encrypted=row.api_key_encrypted).update(api_key_encrypted=token)
            self.stdout.write(f"{row.name}: rotated")
        if unreadable:
            raise CommandError(f"cannot be read, enter them again in the admin: {', '.join(unreadable)}")
