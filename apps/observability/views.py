"""Health endpoints for load balancers, probes and the dev stack, which need no key, and the metrics, which need one."""

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse

from apps.observability import metrics
from apps.observability.health import readiness


def healthz(_: HttpRequest) -> JsonResponse:
    """200 while the process can answer at all."""
    return JsonResponse({"status": "ok"})


def readyz(_: HttpRequest) -> JsonResponse:
    """200 when every dependency answers, else 503 that names the one which does not."""
    ready, report = readiness()
    return JsonResponse(report, status=200 if ready else 503)


def metrics_page(request: HttpRequest) -> HttpResponse:
    """For Prometheus, with `Authorization: Bearer METRICS_TOKEN`; 404 while there is no such token."""
    if not settings.METRICS_TOKEN:
        raise Http404
    if not metrics.may_see(request.headers.get("authorization", "")):
        return HttpResponse(
            "wrong token\n", status=401, content_type="text/plain", headers={"WWW-Authenticate": "Bearer"}
        )
    return HttpResponse(metrics.of_web(), content_type=metrics.CONTENT_TYPE)
