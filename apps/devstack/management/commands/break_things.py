"""`manage.py break_things`: what `make drill` does to its stack. Never for a stack that somebody needs."""

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from apps.devstack import breakage


class Command(BaseCommand):
    help = "For `make drill`: make projects, batches and upstreams of which four things are broken. Prints their ids."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("sham", help="address of apps/devstack/sham.py")
        parser.add_argument("password", help=f"for the user {breakage.OPERATOR}, who is made anew")

    def handle(self, *_: Any, sham: str, password: str, **__: Any) -> str:
        return json.dumps(breakage.break_things(sham, password)._asdict())
