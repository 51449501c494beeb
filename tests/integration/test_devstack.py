"""The dev stack as its user meets it: real processes, signals, files; only the model is a name that nobody calls."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import psycopg
import pytest
import requests

from apps.devstack import pids, postgres, private
from apps.devstack.layout import PROJECT_ROOT

T = TypeVar("T")
APP = {"web", "worker-1", "worker-2", "control", "sweeps", "webhooks", "beat", "flower"}
EMBEDDED = {"postgres", "redis", "supervisor"}
UP_SECONDS = 120
DOWN_SECONDS = 40


def wait_until(condition: Callable[[], T], seconds: float, what: str) -> T:
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, what
        time.sleep(0.05)
    return value


class Devstack:
    """One VAR_DIR and the `manage.py devstack` that runs in it."""

    def __init__(self, var_dir: Path) -> None:
        self.var_dir = var_dir
        self.log = var_dir.parent / "devstack.log"
        self.running: subprocess.Popen[bytes] | None = None

    def start(self, **variables: str) -> subprocess.Popen[bytes]:
        unset = {"DATABASE_URL", "REDIS_URL", "STORAGE_DIR", "SECRET_KEY", "PORT", "WORKERS"}
        env = {name: value for name, value in os.environ.items() if name not in unset}
        env |= {"VAR_DIR": str(self.var_dir), "INFERENCE_BASE_URL": "http://127.0.0.1:9/v1", **variables}
        with self.log.open("wb") as output:
            self.running = subprocess.Popen(
                [sys.executable, PROJECT_ROOT / "manage.py", "devstack", "--die-with-parent"],
                env=env,
                cwd=self.var_dir.parent,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        return self.running

    def up(self) -> dict[str, str]:
        """Start, wait until it is ready; dev.env."""
        running = self.start()
        path = self.var_dir / "dev.env"
        wait_until(lambda: path.exists() or running.poll() is not None, UP_SECONDS, "not ready in time")
        assert path.exists(), self.log.read_text()
        return private.read_env(path)

    def pids(self) -> dict[str, int]:
        return pids.read(self.var_dir / "pids")

    def exit_code(self) -> int:
        assert self.running is not None
        return self.running.wait(DOWN_SECONDS)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Devstack]:
    """A stack in a folder whose name needs care: blanks, `%`, ` ;` and quotes."""
    folder = tmp_path_factory.mktemp("dev") / "100%s of ; 'it'"
    folder.mkdir()
    devstack = Devstack(folder / "var dir")
    yield devstack
    if devstack.running is not None and devstack.running.poll() is None:
        devstack.running.terminate()
        devstack.exit_code()
    postgres.discard(devstack.var_dir)


@pytest.fixture(scope="module")
def running(stack: Devstack) -> dict[str, str]:
    return stack.up()


def gone(processes: dict[str, int]) -> bool:
    return not any(pids.alive(pid) for pid in processes.values())


def list_batches(dev_env: dict[str, str]) -> int:
    url, key = dev_env["ZEROBATCH_BASE_URL"], dev_env["ZEROBATCH_API_KEY"]
    return requests.get(f"{url}/batches", headers={"x-api-key": key}, timeout=10).status_code


def test_its_dev_env_names_a_working_address_key_and_database(stack: Devstack, running: dict[str, str]) -> None:
    assert list(running) == [
        "ZEROBATCH_BASE_URL",
        "ZEROBATCH_API_KEY",
        "ZEROBATCH_PROJECT_ID",
        "DATABASE_URL",
        "REDIS_URL",
        "METRICS_TOKEN",
        "FLOWER_URL",
        "FLOWER_USER",
        "FLOWER_PASSWORD",
    ]
    assert list_batches(running) == 200
    with psycopg.connect(running["DATABASE_URL"]) as connection:
        row = connection.execute("SELECT name FROM projects_project WHERE id = %s", [running["ZEROBATCH_PROJECT_ID"]])
        assert row.fetchone() == ("dev",)


def test_its_secrets_are_for_the_owner_only(stack: Devstack, running: dict[str, str]) -> None:
    secrets = [
        "dev.env",
        "dev.key",
        "secret_key",
        "flower_password",
        "metrics_token",
        "redis/valkey.conf",
        "run/processes.json",
        "postgres/password",
    ]
    assert {name: (stack.var_dir / name).stat().st_mode & 0o777 for name in secrets} == dict.fromkeys(secrets, 0o600)


def test_it_writes_a_pid_file_for_every_process(stack: Devstack, running: dict[str, str]) -> None:
    assert stack.pids().keys() == APP | EMBEDDED
    assert all(pids.alive(pid) for pid in stack.pids().values())


def test_it_keeps_a_log_of_every_process(stack: Devstack, running: dict[str, str]) -> None:
    assert {path.stem for path in (stack.var_dir / "log").glob("*.log")} >= APP | {"postgres", "redis", "supervisord"}


def test_a_killed_worker_comes_back_with_a_new_pid(stack: Devstack, running: dict[str, str]) -> None:
    old = stack.pids()["worker-1"]
    os.kill(old, signal.SIGKILL)
    new = wait_until(lambda: {stack.pids()["worker-1"]} - {old}, 10, "worker-1 was not restarted")
    assert pids.alive(new.pop())


def test_it_refuses_a_second_stack_in_the_same_folder(stack: Devstack, running: dict[str, str]) -> None:
    second = Devstack(stack.var_dir)
    second.log = stack.log.with_name("second.log")
    second.start()
    assert second.exit_code() == 1
    assert stack.running is not None
    assert f"(pid {stack.running.pid})" in second.log.read_text()
    assert list_batches(running) == 200


def test_it_refuses_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
        devstack = Devstack(tmp_path / "var")
        devstack.start(PORT=port)
        assert devstack.exit_code() == 1
    assert devstack.log.read_text().splitlines()[-1] == (
        f"devstack: port {port} is taken or not ours to use: set PORT to another, or leave it unset"
    )
    assert not (tmp_path / "var" / "postgres").exists()


def test_sigterm_stops_everything(stack: Devstack, running: dict[str, str]) -> None:
    assert stack.running is not None
    processes = stack.pids()
    stack.running.terminate()
    assert stack.exit_code() == 0
    assert gone(processes)
    assert stack.pids() == {}
    assert not (stack.var_dir / "dev.env").exists()


def test_a_restart_keeps_the_data_and_the_key_and_survives_a_killed_supervisor(
    stack: Devstack, running: dict[str, str]
) -> None:
    again = stack.up()
    assert (again["ZEROBATCH_API_KEY"], again["ZEROBATCH_PROJECT_ID"]) == (
        running["ZEROBATCH_API_KEY"],
        running["ZEROBATCH_PROJECT_ID"],
    )
    assert list_batches(again) == 200
    processes = stack.pids()
    os.kill(processes["supervisor"], signal.SIGKILL)
    assert stack.exit_code() == 1
    assert gone(processes)
    assert stack.pids() == {}
    assert "supervisord ended" in stack.log.read_text()


def test_nothing_outlives_a_killed_devstack(stack: Devstack) -> None:
    stack.up()
    assert stack.running is not None
    processes = stack.pids()
    stack.running.kill()
    wait_until(lambda: gone(processes), DOWN_SECONDS, "processes outlived devstack")
