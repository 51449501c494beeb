from pathlib import Path

from apps.devstack import procfile
from apps.devstack.layout import PROJECT_ROOT, Layout

TEXT = "# a comment\nweb: gunicorn x\nworker: celery --app x worker -n w-$$@%h\nbeat: celery --app x beat\n"


def test_it_reads_the_lines_and_skips_comments() -> None:
    assert list(procfile.parse(TEXT)) == ["web", "worker", "beat"]


def test_only_the_worker_line_is_multiplied() -> None:
    made = procfile.processes(TEXT, workers=3, env={}, metrics={"worker-2": 9102}, layout=Layout(Path("/v")))
    assert [process.name for process in made] == ["web", "worker-1", "worker-2", "worker-3", "beat"]
    assert made[1].argv[1:] == ["-c", "exec celery --app x worker -n w-$$@%h"]
    assert made[1].wait_for == "/v/run/migrated"


def test_celery_workers_are_pinged_and_beat_is_not() -> None:
    assert procfile.pinged(TEXT, workers=2) == ["worker-1", "worker-2"]


def test_every_worker_of_our_procfile_is_pinged() -> None:
    text = (PROJECT_ROOT / "Procfile").read_text()
    assert procfile.pinged(text, workers=1) == ["worker-1", "control", "sweeps", "webhooks"]


def test_this_pythons_programs_come_first_on_the_path() -> None:
    env = procfile.environment({"PATH": "/somewhere", "A": "1"}, {"A": "2"})
    assert env["PATH"].endswith(":/somewhere")
    assert env["A"] == "2"
