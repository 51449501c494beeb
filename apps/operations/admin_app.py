"""Django's entry for its own admin, with our site; apart, because Django wants one entry in a module."""

from django.contrib.admin.apps import AdminConfig


class OperatorsAdminConfig(AdminConfig):
    default = False
    default_site = "apps.operations.site.OperatorsSite"
