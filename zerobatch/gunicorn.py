"""How gunicorn serves: address, processes, threads and structured logs."""

from apps.observability.logs import logging_config
from zerobatch import env

bind = f"{env.text('HOST', '127.0.0.1')}:{env.number('PORT', 8000, least=1)}"
workers = env.number("WEB_PROCESSES", 2, least=1)
threads = env.number("WEB_THREADS", 8, least=1)
worker_class = "gthread"
# Threads serve long transfers; this only ends a process whose main loop hangs.
timeout = 60
graceful_timeout = 10
keepalive = 5
# Its path is the same for every instance of a user, and nobody here uses it.
control_socket_disable = True
logconfig_dict = logging_config(level=env.text("LOG_LEVEL", "INFO").upper(), style=env.text("LOG_FORMAT", "json"))
