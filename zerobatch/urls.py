"""Every path the server answers."""

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("v1/", include("apps.files.urls")),
    path("v1/", include("apps.batches.urls")),
    path("v1/", include("apps.webhooks.urls")),
    path("", include("apps.observability.urls")),
    path("admin/", admin.site.urls),
    path("", include("apps.reference.urls")),
    path("", include("apps.console.urls")),
]

handler400 = "apps.api.views.bad_request"
handler403 = "apps.api.views.forbidden"
handler404 = "apps.api.views.not_found"
handler500 = "apps.api.views.server_error"
