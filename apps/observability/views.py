"""Health endpoints for load balancers, probes and the dev stack; they need no key."""

from django.http import HttpRequest, JsonResponse

from apps.observability.health import check_dependencies


def healthz(_: HttpRequest) -> JsonResponse:
    """200 while the process can answer at all."""
    return JsonResponse({"status": "ok"})


def readyz(_: HttpRequest) -> JsonResponse:
    """200 when every dependency answers, else 503 that names the one which does not."""
    dependencies = check_dependencies()
    ready = all(state == "ok" for state in dependencies.values())
    return JsonResponse(
        {"status": "ok" if ready else "unavailable", "dependencies": dependencies}, status=200 if ready else 503
    )
