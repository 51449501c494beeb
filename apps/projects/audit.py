"""Who changed what: rows that are only ever added, each in the transaction of its change."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import structlog
from django.contrib.auth import get_user_model
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models.functions import Now
from django.utils import timezone


class Actor(models.TextChoices):
    """Who acts. The values are the names under which the log context knows them."""

    COMMAND = "command", "command"
    OPERATOR = "operator", "operator"
    MEMBER = "user", "member"
    KEY = "api_key", "API key"
    SYSTEM = "system", "the server itself"


class AuditEntry(models.Model):
    """One change. A trigger in Postgres refuses to change or remove a row; only `forget` may empty `changes`.

    It holds ids, never a person's name, and outlives whatever it is about: so it has no foreign keys.
    """

    at = models.DateTimeField(default=timezone.now)
    actor_kind = models.CharField(max_length=10, choices=Actor)
    actor = models.CharField(max_length=80, blank=True, help_text="a user's id, a key's prefix, a command's name")
    project_id = models.UUIDField()
    action = models.CharField(max_length=60, help_text="object.verb, such as key.revoked")
    object_id = models.CharField(max_length=80)
    changes = models.JSONField(default=dict, encoder=DjangoJSONEncoder, help_text="member → before and after")
    request_id = models.CharField(max_length=40, blank=True)

    class Meta:
        verbose_name_plural = "audit entries"
        indexes = (models.Index(fields=["project_id", "-id"], name="audit_newest_of_project"),)

    named = ""
    """The actor's name, if `tell_names` found one."""

    def __str__(self) -> str:
        return f"{self.action} {self.object_id}"

    @property
    def who(self) -> str:
        return f"{Actor(self.actor_kind).label} {self.named or self.actor}".strip()

    @property
    def what(self) -> str:
        return "; ".join(f"{name}: {before} → {after}" for name, (before, after) in self.changes.items())


def acting(kind: Actor, actor: object) -> None:
    """From here to the end of the request, or of the command, this is who changes things; log events name it too."""
    structlog.contextvars.bind_contextvars(**{kind.value: actor})


def record(
    action: str,
    project_id: Any,
    object_id: object,
    *,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> None:
    """Adds an entry with the members that differ between `before` and `after`; who acts is known (`acting`).

    Belongs into the transaction of the change. Secrets, and what clients wrote of their own accord, do not belong in.
    """
    context = structlog.contextvars.get_contextvars()
    kind = next((kind for kind in Actor if kind.value in context), Actor.SYSTEM)
    AuditEntry.objects.create(
        at=Now(),
        actor_kind=kind,
        actor=str(context.get(kind.value, "")),
        project_id=project_id,
        action=action,
        object_id=str(object_id),
        changes=_differences(before or {}, after or {}),
        request_id="" if kind is Actor.COMMAND else context.get("request_id", ""),
    )


def tell_names(entries: Sequence[AuditEntry], kinds: Collection[Actor] = (Actor.OPERATOR, Actor.MEMBER)) -> None:
    """Entries have ids only: these get their users' names, for as long as there are such users."""
    theirs = [entry for entry in entries if entry.actor_kind in kinds]
    users = get_user_model()._default_manager.filter(pk__in={entry.actor for entry in theirs})
    names = {str(user.pk): user.get_username() for user in users}
    for entry in theirs:
        entry.named = names.get(entry.actor, "")


def forget(project_id: Any) -> int:
    """Empties `changes` of a project's entries: names of keys and hosts go, what was done when and by whom stays."""
    return AuditEntry.objects.filter(project_id=project_id).exclude(changes={}).update(changes={})


def _differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Member → [before, after], of those that differ; what is not there is None."""
    names = dict.fromkeys((*before, *after))
    return {name: [before.get(name), after.get(name)] for name in names if before.get(name) != after.get(name)}
