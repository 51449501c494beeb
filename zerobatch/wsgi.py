"""The web process's entry point for gunicorn."""

import os

from django.conf import settings
from django.core.wsgi import get_wsgi_application

from apps.api.checks import refuse_misconfiguration
from apps.api.wsgi import believing, forgiving

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "zerobatch.settings")

application = believing(forgiving(get_wsgi_application()), settings.TRUSTED_PROXIES)
refuse_misconfiguration()
