"""Model fields that PostgreSQL's own types are too strict for."""

import json
from typing import TYPE_CHECKING, Any

from django.db import models

if TYPE_CHECKING:
    _TextField = models.Field[Any, Any]
else:
    _TextField = models.TextField


class JsonTextField(_TextField):
    """JSON from outside, kept as text and given back unchanged.

    jsonb refuses `\\u0000` and lone surrogates and reorders keys; a client's metadata must come back as it was sent
    (wire.md §7). Nobody queries by its content.
    """

    def from_db_value(self, value: str | None, *_: Any) -> Any:
        return None if value is None else json.loads(value)

    def to_python(self, value: Any) -> Any:
        return json.loads(value) if isinstance(value, str) else value

    def get_prep_value(self, value: Any) -> str | None:
        return None if value is None else json.dumps(value)

    def value_to_string(self, obj: models.Model) -> str:
        return json.dumps(self.value_from_object(obj))
