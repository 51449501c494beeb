"""Upstream: an inference server as its operator describes it."""

from enum import StrEnum

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q

from apps.upstreams.encryption import Undecryptable, decrypt, encrypt
from apps.upstreams.validators import patterns_in, validate_base_url, validate_patterns

DAY_SECONDS = 24 * 60 * 60
AT_LEAST_ONE = MinValueValidator(1)
AT_MOST_A_DAY = MaxValueValidator(DAY_SECONDS)


class KeyState(StrEnum):
    """What is known of an upstream's API key, in words for people."""

    NONE = "none"
    STORED = "stored"
    UNREADABLE = "cannot be read with this SECRET_KEY: enter it again"


class Upstream(models.Model):
    """One inference server. Workers see `apps.inference.upstream.Upstream`, which the catalogue makes of this row.

    The API key is in the database as a Fernet token only; `api_key` encrypts and decrypts. Whoever lists fields, dumps
    the table or prints a row meets the token.
    """

    name = models.SlugField(
        max_length=64,
        unique=True,
        help_text="For you, the logs and the metrics: letters, digits, hyphens and underscores.",
    )
    base_url = models.CharField(
        "base URL",
        max_length=500,
        validators=[validate_base_url],
        help_text="Where the server's OpenAI-compatible API is, with or without /v1: http://gpu-host:8000/v1.",
    )
    api_key_encrypted = models.TextField(blank=True, editable=False)
    model_patterns = models.TextField(
        default="*",
        validators=[validate_patterns],
        help_text="Which models it serves, one pattern a line: <code>*</code> is all of them, <code>llama-*</code> "
        "those that begin so. Upper and lower case differ. A model that several upstreams serve is shared among them.",
    )
    max_in_flight = models.PositiveIntegerField(
        default=128,
        validators=[AT_LEAST_ONE],
        help_text="Requests it is given at the same time, by all workers together: the server's slots.",
    )
    connect_timeout = models.PositiveIntegerField(
        default=10, validators=[AT_LEAST_ONE, AT_MOST_A_DAY], help_text="Seconds until a connection must stand."
    )
    read_timeout = models.PositiveIntegerField(
        default=600,
        validators=[AT_LEAST_ONE, AT_MOST_A_DAY],
        help_text="Seconds until a whole answer must be there; raise it for very long generations.",
    )
    enabled = models.BooleanField(
        default=True, help_text="A disabled upstream gets no more lines; those it is answering may finish."
    )
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ("name",)
        constraints = (
            models.CheckConstraint(
                condition=Q(max_in_flight__gte=1, connect_timeout__gte=1, read_timeout__gte=1),
                name="upstream_numbers_are_positive",
            ),
        )

    def __str__(self) -> str:
        return self.name

    @property
    def api_key(self) -> str:
        """The key in the clear, empty if there is none; raises Undecryptable."""
        return decrypt(self.api_key_encrypted) if self.api_key_encrypted else ""

    @api_key.setter
    def api_key(self, key: str) -> None:
        self.api_key_encrypted = encrypt(key) if key else ""

    @property
    def key_state(self) -> KeyState:
        try:
            return KeyState.STORED if self.api_key else KeyState.NONE
        except Undecryptable:
            return KeyState.UNREADABLE

    @property
    def patterns(self) -> tuple[str, ...]:
        return patterns_in(self.model_patterns)
