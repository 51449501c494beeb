"""What an API key may do: three scopes, each with all of the one before it, and which of them a call needs."""

from django.db.models import TextChoices


class Scope(TextChoices):
    """In order: whoever has one may do what those above it may."""

    READ_ONLY = "read-only", "read-only: look and download"
    SUBMIT = "submit", "submit: files, uploads and batches too"
    ADMIN = "admin", "admin: webhook endpoints too"

    def includes(self, needed: "Scope") -> bool:
        """Whether a key with this scope may make a call that needs the other."""
        ranks = list(Scope)
        return ranks.index(self) >= ranks.index(needed)


READ_ONLY, SUBMIT, ADMIN = Scope

# Route → method → scope, for every call of /v1 (wire.md §1). A test walks over the routes and finds what is missing.
NEEDS: dict[str, dict[str, Scope]] = {
    "v1/files": {"GET": READ_ONLY, "POST": SUBMIT},
    "v1/files/<str:file_id>": {"GET": READ_ONLY, "DELETE": SUBMIT},
    "v1/files/<str:file_id>/content": {"GET": READ_ONLY},
    "v1/uploads": {"POST": SUBMIT},
    "v1/uploads/<str:upload_id>/parts": {"POST": SUBMIT},
    "v1/uploads/<str:upload_id>/complete": {"POST": SUBMIT},
    "v1/uploads/<str:upload_id>/cancel": {"POST": SUBMIT},
    "v1/batches": {"GET": READ_ONLY, "POST": SUBMIT},
    "v1/batches/<str:batch_id>": {"GET": READ_ONLY},
    "v1/batches/<str:batch_id>/cancel": {"POST": SUBMIT},
    "v1/batches/<str:batch_id>/retry": {"POST": SUBMIT},
    "v1/batches/<str:batch_id>/output": {"GET": READ_ONLY},
    "v1/limits": {"GET": READ_ONLY},
    "v1/usage": {"GET": READ_ONLY},
    "v1/webhook_endpoints": {"GET": READ_ONLY, "POST": ADMIN},
    "v1/webhook_endpoints/<str:endpoint_id>": {"GET": READ_ONLY, "POST": ADMIN, "DELETE": ADMIN},
    "v1/webhook_endpoints/<str:endpoint_id>/rotate_secret": {"POST": ADMIN},
    "v1/webhook_endpoints/<str:endpoint_id>/test": {"POST": ADMIN},
    "v1/webhook_event_types": {"GET": READ_ONLY},
}


def needed(route: str, method: str) -> Scope:
    """What a call needs. One that nobody has thought of needs everything."""
    return NEEDS.get(route, {}).get("GET" if method == "HEAD" else method, Scope.ADMIN)
