"""`manage.py rotate_webhook_secrets`: encrypts the stored signing secrets anew, after SECRET_KEY was changed."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from apps.api.encryption import Undecryptable
from apps.webhooks.models import WebhookEndpoint, cipher


class Command(BaseCommand):
    help = "Encrypt webhooks' signing secrets under the present SECRET_KEY; then SECRET_KEY_FALLBACKS can be emptied."

    def handle(self, *args: Any, **options: Any) -> None:
        unreadable = [row.pk for row in WebhookEndpoint.objects.live() if not _rotated(row)]
        self.stdout.write("done")
        if unreadable:
            raise CommandError(f"cannot be read, their owners must rotate them: {', '.join(unreadable)}")


def _rotated(row: WebhookEndpoint) -> bool:
    """False if a secret cannot be read. Guarded: one that was rotated in this moment is newer than what was read."""
    try:
        fresh = {
            "secret_encrypted": cipher.rotate(row.secret_encrypted),
            "previous_secret_encrypted": row.previous_secret_encrypted and cipher.rotate(row.previous_secret_encrypted),
        }
    except Undecryptable:
        return False
    WebhookEndpoint.objects.filter(pk=row.pk, secret_encrypted=row.secret_encrypted).update(**fresh)
    return True
