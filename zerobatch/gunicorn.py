"""How gunicorn serves: address, processes, threads and structured logs."""

import os
import shutil
import tempfile
from typing import Any

from apps.observability.logs import logging_config
from zerobatch import env, web

bind = f"{env.text('HOST', '127.0.0.1')}:{env.number('PORT', 8000, least=1)}"
workers = env.number("WEB_PROCESSES", 2, least=1)
threads = env.number("WEB_THREADS", 8, least=1)
if threads >= env.number("DATABASE_POOL_SIZE", 10, least=2):
    # An upload keeps its connection to its end: with fewer connections than threads, slow ones would starve the rest.
    raise env.ImproperlySetError("DATABASE_POOL_SIZE must be greater than WEB_THREADS")
worker_class = web.Worker
limit_request_line = 8190  # gunicorn's most
limit_request_fields = 100
limit_request_field_size = 8190
# Which proxies are believed, and what, is said in one place: apps/api/wsgi.py.
forwarded_allow_ips = ""
secure_scheme_headers: dict[str, str] = {}
# Threads serve long transfers; this only ends a process whose main loop hangs. `zerobatch.web` cuts off who stalls.
timeout = 60
graceful_timeout = 10
keepalive = 5
# Its path is the same for every instance of a user, and nobody here uses it.
control_socket_disable = True
logconfig_dict = logging_config(level=env.text("LOG_LEVEL", "INFO"), style=env.text("LOG_FORMAT", "json"))


def on_starting(_: Any) -> None:
    """In the main process, before there are others: all of them count into files of one folder (prometheus_client)."""
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(prefix="zerobatch-metrics-")


def on_exit(_: Any) -> None:
    shutil.rmtree(os.environ["PROMETHEUS_MULTIPROC_DIR"], ignore_errors=True)
