"""Processes that are configured wrong say so and do not start."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
GUNICORN = ["gunicorn", "zerobatch.wsgi", "--config", "python:zerobatch.gunicorn", "--check-config"]
WORKER = ["celery", "--app", "zerobatch", "worker", "--pool", "solo"]


def start(command: list[str], **environ: str) -> subprocess.CompletedProcess[str]:
    program = [str(Path(sys.executable).with_name(command[0])), *command[1:]]
    env = {**os.environ, **environ}
    return subprocess.run(program, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("command", [GUNICORN, WORKER])
def test_no_process_starts_with_failpoints_outside_debug(command: list[str]) -> None:
    refused = start(command, FAILPOINTS_DIR="/tmp")

    assert refused.returncode != 0
    assert "zerobatch.E002" in refused.stderr + refused.stdout


@pytest.mark.parametrize(
    ("environ", "check_id"),
    [
        ({"INFERENCE_BASE_URL": "http://operator:hunter2@gpu:8000/v1"}, "zerobatch.E003"),
        ({"INFERENCE_BASE_URL": "http://gpu:8000/v1?key=hunter2"}, "zerobatch.E003"),
        ({"INFERENCE_API_KEY": "hunter2\nx-evil: yes"}, "zerobatch.E004"),
    ],
)
def test_no_process_starts_with_an_upstream_that_no_row_could_be(environ: dict[str, str], check_id: str) -> None:
    refused = start(GUNICORN, **environ)

    assert refused.returncode != 0
    assert check_id in refused.stderr + refused.stdout
    assert "hunter2" not in refused.stderr + refused.stdout


@pytest.mark.parametrize("command", [GUNICORN, WORKER])
def test_no_process_starts_without_a_secret_key(command: list[str]) -> None:
    refused = start(command, SECRET_KEY="")

    assert refused.returncode != 0
    assert "zerobatch.E001" in refused.stderr + refused.stdout


def test_a_right_configuration_is_accepted() -> None:
    assert start(GUNICORN).returncode == 0


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"MAX_BATCH_LINES": "many"}, "MAX_BATCH_LINES must be a whole number, not 'many'"),
        ({"LEASE_SECONDS": "1"}, "LEASE_SECONDS must be at least 5, not 1"),
        ({"LOG_LEVEL": "loud"}, "LOG_LEVEL must be one of DEBUG, INFO, WARNING, ERROR, CRITICAL, not 'loud'"),
        ({"DATABASE_URL": "hello"}, "DATABASE_URL must be a URL such as postgres://"),
        ({"INFERENCE_BASE_URL": "gpu-host:8000"}, "INFERENCE_BASE_URL must be a URL such as http://"),
        ({"REDIS_URL": "redis://:pw@host:port/0"}, "REDIS_URL must be a URL such as redis://"),
        ({"DEBUG": "perhaps"}, "DEBUG must be true or false, not 'perhaps'"),
        ({"DATABASE_POOL_SIZE": "4"}, "DATABASE_POOL_SIZE must be greater than WEB_THREADS"),
    ],
)
def test_a_value_that_cannot_be_used_is_named(environ: dict[str, str], message: str) -> None:
    refused = start(GUNICORN, **environ)

    assert refused.returncode != 0
    assert message in refused.stderr


def test_manage_names_it_in_one_line() -> None:
    refused = start(["python", "manage.py", "check"], MAX_BATCH_LINES="many")

    assert refused.returncode == 1
    expected = "MAX_BATCH_LINES must be a whole number, not 'many' (see docs/configuration.md)"
    assert refused.stderr.strip() == expected


def test_options_of_the_database_url_are_kept() -> None:
    show = "from django.conf import settings; print(settings.DATABASES['default']['OPTIONS'])"
    url = "postgres://a@127.0.0.1/b?sslmode=require&application_name=x"
    shown = start(["python", "manage.py", "shell", "--no-imports", "-c", show], DATABASE_URL=url)

    assert "'sslmode': 'require'" in shown.stdout
    assert "'application_name': 'x'" in shown.stdout
