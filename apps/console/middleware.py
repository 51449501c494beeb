"""Headers of the console's pages: nothing from elsewhere, nothing inline, in nobody's frame, in nobody's cache."""

from django.http import HttpRequest, HttpResponseBase

from apps.api.middleware import GetResponse

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)


class ConsoleHeadersMiddleware:
    """The admin has scripts of its own and the API answers no browser, so both are left alone."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        if request.path in {"/", "/docs"} or request.path.startswith("/console/"):
            response["Content-Security-Policy"] = POLICY
            response.setdefault("Cache-Control", "no-store")
        return response
