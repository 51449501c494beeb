"""Paths of the console. All but the first lie under /console/, so that no SDK with a wrong base URL meets a page."""

from django.urls import path

from apps.console.views import audit, batches, files, first_request, keys, new, session, usage, webhooks

app_name = "console"

urlpatterns = [
    path("", batches.batches, name="batches"),
    path("console/batches/new", new.new, name="new"),
    path("console/batches", new.create, name="create"),
    path("console/batches/<str:batch_id>", batches.batch, name="batch"),
    path("console/batches/<str:batch_id>/cancel", batches.cancel, name="cancel"),
    path("console/batches/<str:batch_id>/retry", batches.retry, name="retry"),
    path("console/uploads", new.UploadView.as_view(), name="upload"),
    path("console/files", files.files, name="files"),
    path("console/files/<str:file_id>/content", files.content, name="content"),
    path("console/files/<str:file_id>/delete", files.delete, name="delete"),
    path("console/keys", keys.keys, name="keys"),
    path("console/keys/<str:prefix>/revoke", keys.revoke, name="revoke"),
    path("console/audit", audit.audit, name="audit"),
    path("console/usage", usage.usage, name="usage"),
    path("console/webhooks", webhooks.webhooks, name="webhooks"),
    path("console/webhooks/<str:endpoint_id>/rotate", webhooks.rotate, name="webhook_rotate"),
    path("console/webhooks/<str:endpoint_id>/test", webhooks.test, name="webhook_test"),
    path("console/webhooks/<str:endpoint_id>/delete", webhooks.delete, name="webhook_delete"),
    path("console/deliveries/<str:delivery_id>/send-again", webhooks.send_again, name="webhook_send_again"),
    path("console/first-request", first_request.first_request, name="first_request"),
    path("console/project", session.project, name="project"),
    path("console/sign-in", session.sign_in, name="sign_in"),
    path("console/sign-out", session.sign_out, name="sign_out"),
    path("console/<path:rest>", session.unknown),
]
