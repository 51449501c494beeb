"""Wrong settings are refused with an id and a hint; the documented production environment is clean."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.checks import run_checks

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "configuration.md").read_text()


def documented() -> dict[str, str]:
    """The production environment of docs/configuration.md, its dots filled in."""
    block = re.search(r"### The production environment.*?```sh\n(.*?)```", PAGE, re.DOTALL)
    assert block
    rows = (row.split("#")[0].strip().partition("=") for row in block[1].splitlines())
    made_up = {"SECRET_KEY": "kD83h_" * 10, "FLOWER_PASSWORD": "a long password"}
    return {name: made_up[name] if value == "..." else value for name, _, value in rows}


def test_the_documented_production_environment_is_clean() -> None:
    checked = subprocess.run(
        [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **documented()},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (checked.returncode, checked.stderr) == (0, "")
    assert "no issues (0 silenced)" in checked.stdout


@pytest.mark.parametrize(
    ("check_id", "changes"),
    [
        ("zerobatch.E005", {"SECURE_SSL_REDIRECT": True, "PROXY_SSL_HEADER": ""}),
        ("zerobatch.E006", {"PROXY_SSL_HEADER": "X-Forwarded-Proto: https"}),
        ("zerobatch.E007", {"ALLOWED_ENDPOINTS": ["v1/chat/completions"]}),
        ("zerobatch.E007", {"ALLOWED_ENDPOINTS": []}),
        ("zerobatch.E008", {"MAX_LINE_BYTES": 11, "MAX_BATCH_BYTES": 10}),
        ("zerobatch.E009", {"FLOWER_PASSWORD": "short"}),
        ("zerobatch.E030", {"STORAGE": "s3", "S3_BUCKET": ""}),
        ("zerobatch.E030", {"STORAGE": "s3", "S3_BUCKET": "s3://mine"}),
        ("zerobatch.E031", {"S3_PREFIX": "/mine/"}),
        ("zerobatch.E032", {"S3_KMS_KEY_ID": "mine", "S3_ENCRYPTION": "AES256"}),
        ("zerobatch.W033", {"S3_BUCKET": "mine"}),
    ],
)
def test_a_wrong_setting_is_refused_with_a_hint(settings: Any, check_id: str, changes: dict[str, Any]) -> None:
    assert run_checks() == []
    for name, value in changes.items():
        setattr(settings, name, value)

    (error,) = run_checks()

    assert error.id == check_id
    assert error.hint


@pytest.mark.parametrize("password", ["", "short"])
def test_flower_does_not_start_without_a_password(password: str) -> None:
    tried = subprocess.run(
        [sys.executable, "manage.py", "flower"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "SECRET_KEY": "x" * 50, "FLOWER_PASSWORD": password},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert tried.returncode == 1
    assert "FLOWER_PASSWORD" in tried.stderr
