"""The house stays in order: imports point downward, functions stay short, settings are documented."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.management import call_command

from zerobatch import env

ROOT = Path(__file__).resolve().parents[2]
SOURCES = [path for folder in ("apps", "zerobatch") for path in (ROOT / folder).rglob("*.py")]
MOST_FUNCTION_LINES = 60


def test_imports_point_downward() -> None:
    linted = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert linted.returncode == 0, linted.stdout


@pytest.mark.django_db
def test_no_migration_is_missing() -> None:
    call_command("makemigrations", "--check", "--dry-run", verbosity=0)


def test_django_finds_nothing_wrong() -> None:
    call_command("check")


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_functions_are_short_and_modules_say_what_they_are_for(path: Path) -> None:
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            assert lines <= MOST_FUNCTION_LINES, f"{node.name} has {lines} lines"
    is_package_marker = path.name == "__init__.py" and not tree.body
    assert is_package_marker or "migrations" in path.parts or ast.get_docstring(tree)


def test_every_setting_is_documented_with_its_default_and_every_documented_setting_exists() -> None:
    import zerobatch.gunicorn  # noqa: F401, PLC0415  its settings are read when it is imported

    rows = re.findall(
        r"^\| `([A-Z0-9_]+)` \| ([^|]+) \|", (ROOT / "docs" / "configuration.md").read_text(), re.MULTILINE
    )
    documented = {name: default.strip().strip("`") for name, default in rows}
    read = {name: default.removeprefix(f"{ROOT}/") or "none" for name, default in env.defaults.items()}
    # No process but the dev stack and the Procfile's shell reads these.
    elsewhere = {"VAR_DIR": "var", "WORKERS": "2", "WORKER_THREADS": "16", "FLOWER": "on"}

    assert len(rows) == len(documented)
    assert documented == read | elsewhere | {"SECRET_KEY": "none"}


def test_every_check_is_documented() -> None:
    ids = {found for path in SOURCES for found in re.findall(r'id="(zerobatch\.[EW]\d+)"', path.read_text())}
    ids |= {"zerobatch.E003", "zerobatch.E004"}  # of apps/upstreams, which hands them on
    page = (ROOT / "docs" / "configuration.md").read_text()

    assert {check_id for check_id in ids if check_id not in page} == set()
