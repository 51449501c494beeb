"""The web process's entry point for gunicorn."""

import os

from django.core.wsgi import get_wsgi_application

from apps.api.checks import refuse_misconfiguration
from apps.api.wsgi import forgiving

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "zerobatch.settings")

application = forgiving(get_wsgi_application())
refuse_misconfiguration()
