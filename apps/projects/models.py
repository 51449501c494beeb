"""Who may ask: projects (the tenants) and their API keys."""

import hashlib
import hmac
import secrets
import uuid
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import models, transaction
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone

from apps.api.errors import InsufficientScope
from apps.projects import audit
from apps.projects.scopes import Scope

if TYPE_CHECKING:
    from django.contrib.auth.base_user import AbstractBaseUser
    from django.contrib.auth.models import AnonymousUser

KEY_LABEL = "zb"
LAST_USED_RESOLUTION = timedelta(minutes=1)


class ProjectQuerySet(models.QuerySet["Project"]):
    def open_to(self, user: "AbstractBaseUser | AnonymousUser") -> "ProjectQuerySet":
        """The enabled projects that a person may work in: where they are a member; all of them for a superuser."""
        enabled = self.filter(enabled=True)
        if not user.is_authenticated or not user.is_active:
            return self.none()
        return enabled if getattr(user, "is_superuser", False) else enabled.filter(members=user.pk)


class Project(models.Model):
    """A tenant: owns keys, files and batches, and never learns of another's."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=200)
    enabled = models.BooleanField(default=True, help_text="A disabled project's keys open nothing.")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    members = models.ManyToManyField(
        settings.AUTH_USER_MODEL,
        related_name="projects",
        blank=True,
        help_text="Who may work in this project in the console.",
    )

    # What it may have at most (limits.py); without a number, what the settings say.
    max_requests_per_minute = models.PositiveIntegerField(null=True, blank=True)
    max_enqueued_lines = models.PositiveBigIntegerField(null=True, blank=True)
    max_batches_in_progress = models.PositiveIntegerField(null=True, blank=True)
    max_stored_bytes = models.PositiveBigIntegerField(null=True, blank=True)
    max_tokens = models.PositiveBigIntegerField(null=True, blank=True)
    max_tokens_this_month = models.PositiveBigIntegerField(null=True, blank=True)

    objects = ProjectQuerySet.as_manager()

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name

    def shown(self) -> dict[str, Any]:
        """What the audit says of a project: its limits too, and members by their ids."""
        limits = [field.name for field in self._meta.fields if field.name.startswith("max_")]
        members = sorted(self.members.values_list("pk", flat=True))
        return {name: getattr(self, name) for name in ("name", "enabled", *limits)} | {"members": members}


class ApiKeyQuerySet(models.QuerySet["ApiKey"]):
    @transaction.atomic
    def create_for(
        self, project: Project, name: str = "", *, scope: Scope = Scope.ADMIN, expires_at: datetime | None = None
    ) -> tuple["ApiKey", str]:
        """A new key and its full text, which exists nowhere else and cannot be had again."""
        prefix, secret = secrets.token_hex(6), secrets.token_hex(32)
        known: dict[str, Any] = {"name": name, "scope": scope, "expires_at": expires_at}
        key = self.create(project=project, prefix=prefix, secret_hash=hash_secret(secret), **known)
        audit.record("key.created", project.pk, prefix, after=key.shown())
        return key, f"{KEY_LABEL}_{prefix}_{secret}"

    @transaction.atomic
    def revoke(self) -> list["ApiKey"]:
        """Ends for good those that were not revoked before; which these are."""
        revoked = list(self.filter(revoked_at=None).select_for_update(of=("self",)))
        for key in revoked:
            before = key.shown()
            key.revoked_at = timezone.now()
            key.save(update_fields=["revoked_at"])
            audit.record("key.revoked", key.project_id, key.prefix, before=before, after=key.shown())
        return revoked

    def usable(self) -> "ApiKeyQuerySet":
        """Neither revoked nor expired, of an enabled project."""
        alive = Q(expires_at=None) | Q(expires_at__gt=Now())
        return self.filter(alive, revoked_at=None, project__enabled=True)

    def verify(self, text: str) -> "ApiKey | None":
        """The usable key that `text` is, or None. Takes as long for an unknown prefix as for a wrong secret."""
        label, _, rest = text.partition("_")
        prefix, _, secret = rest.partition("_")
        key = self.usable().select_related("project").filter(prefix=prefix).first() if is_prefix(prefix) else None
        expected = key.secret_hash if key else ""
        matches = hmac.compare_digest(hash_secret(secret), expected)
        return key if matches and label == KEY_LABEL else None


class ApiKey(models.Model):
    """A key is `zb_<prefix>_<secret>`: found by its prefix, proved by the SHA-256 of its 256-bit secret.

    A plain hash suffices: a random secret of that size cannot be guessed from it, unlike a password.
    """

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="api_keys")
    name = models.CharField(max_length=200, blank=True)
    prefix = models.CharField(max_length=12, unique=True, editable=False)
    secret_hash = models.CharField(max_length=64, editable=False)
    # With a default in the database too: during an upgrade the previous release makes keys that know no scope.
    scope = models.CharField(
        max_length=10, choices=Scope, default=Scope.ADMIN, db_default=Scope.ADMIN, help_text="What its holder may do."
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, editable=False)

    objects = ApiKeyQuerySet.as_manager()

    class Meta:
        ordering = ("-created_at",)
        verbose_name = "API key"
        constraints = (models.CheckConstraint(condition=Q(scope__in=Scope.values), name="key_scope_is_known"),)

    def __str__(self) -> str:
        return f"{KEY_LABEL}_{self.prefix}_…"

    def require(self, needed: Scope) -> None:
        """Raises InsufficientScope if the key may not do what needs this scope."""
        if not Scope(self.scope).includes(needed):
            raise InsufficientScope(needs=needed.value, has=self.scope)

    def shown(self) -> dict[str, Any]:
        """What the audit says of a key; nothing of its secret."""
        return {name: getattr(self, name) for name in ("name", "scope", "expires_at", "revoked_at")}

    def stamp_last_used(self) -> None:
        """Records that the key is in use, at most once a minute: not a write per request."""
        now = timezone.now()
        if self.last_used_at is None or now - self.last_used_at > LAST_USED_RESOLUTION:
            ApiKey.objects.filter(pk=self.pk).update(last_used_at=now)


def hash_secret(secret: str) -> str:
    """SHA-256 in hex; any text is hashable, lone surrogates too."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def is_prefix(text: str) -> bool:
    """Whether a key may have it; anything else (NULs, megabytes) never reaches the database."""
    return len(text) == 12 and text.isascii() and text.isalnum()
