"""The errors a client can see; whoever raises one decides nothing about its shape on the wire."""

from typing import Any


class ApiError(Exception):
    """An error with its HTTP status and its place in the envelope of wire.md §2.

    `extra` holds further members of the `error` object (`line`, `batch_id`), `headers` go with the response.
    """

    status = 400
    type = "invalid_request_error"
    code: str | None = "invalid_request_error"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        extra: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or type(self).code
        self.param = param
        self.extra = extra or {}
        self.headers = headers or {}

    def body(self) -> dict[str, Any]:
        """The response's JSON."""
        return {
            "error": {"message": self.message, "type": self.type, "code": self.code, "param": self.param, **self.extra}
        }


class InvalidRequest(ApiError):
    """The request is wrong and will be wrong again."""


class MissingCredentials(ApiError):
    """No key was sent."""

    status = 401
    type = "authentication_error"
    code = "missing_api_key"

    def __init__(self) -> None:
        super().__init__("Missing authentication headers")


class InvalidCredentials(ApiError):
    """A key or project id was sent that opens nothing; the message never says which, or why."""

    status = 403
    type = "authentication_error"
    code = "invalid_credentials"

    def __init__(self) -> None:
        super().__init__("Invalid credentials")


class InsufficientScope(ApiError):
    """The key is right, and may not do this. It has proved itself, so it is told what it would need."""

    status = 403
    type = "authentication_error"
    code = "insufficient_scope"

    def __init__(self, *, needs: str, has: str) -> None:
        super().__init__(f'This needs a key with the scope "{needs}", and the scope of this one is "{has}"')


class NotFound(ApiError):
    """There is no such object, or it is another project's: one answer for both."""

    status = 404
    code = "not_found"


class MethodNotAllowed(ApiError):
    """The path exists, the method does not."""

    status = 405
    code = "method_not_allowed"


class Conflict(ApiError):
    """The object is in a state that does not allow this."""

    status = 409


class TooLarge(ApiError):
    """More bytes than we take."""

    status = 413
    code = "request_too_large"


class RangeNotSatisfiable(ApiError):
    """The requested range lies outside the file."""

    status = 416
    code = "range_not_satisfiable"


class RateLimited(ApiError):
    """Too many requests; `headers` carries Retry-After."""

    status = 429
    type = "rate_limit_exceeded"
    code = "rate_limit_exceeded"


class QuotaExceeded(ApiError):
    """A limit of the project has no room for this (wire.md §10). The SDKs are told that repeating it is no use."""

    status = 429
    type = "insufficient_quota"
    code = "insufficient_quota"

    def __init__(self, name: str, what: str, *, used: int, limit: int, needed: int) -> None:
        super().__init__(
            f"This project is limited to {limit} {what}: {used} are used, and {needed} more would be needed",
            extra={"limit_name": name, "used": used, "limit": limit, "needed": needed},
            headers={"x-should-retry": "false"},
        )


class InternalError(ApiError):
    """Our fault. The message tells nothing of our insides; the log does, under the same request id."""

    status = 500
    type = "internal_error"
    code = "internal_error"

    def __init__(self) -> None:
        super().__init__("The server had an error while processing your request")


class Unavailable(ApiError):
    """Something that we stand on is away for now; the same request works when it is back."""

    status = 503
    type = "internal_error"
    code = "service_unavailable"

    def __init__(self) -> None:
        super().__init__("The service is temporarily unavailable; try again", headers={"Retry-After": "5"})


class StorageError(ApiError):
    """The object storage did not do what it was asked."""

    status = 500
    type = "internal_error"
    code = "storage_error"

    def __init__(self) -> None:
        super().__init__("The file storage failed; try again", headers={"Retry-After": "5"})
