#!/usr/bin/env python3
"""Django's command line: `manage.py devstack`, `create_project`, `create_api_key`, `migrate` and the rest."""

import os
import sys

from django.core.management import execute_from_command_line

from zerobatch.env import ImproperlySetError


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "zerobatch.settings")
    try:
        execute_from_command_line(sys.argv)
    except ImproperlySetError as error:
        sys.exit(f"{error} (see docs/configuration.md)")


if __name__ == "__main__":
    main()
