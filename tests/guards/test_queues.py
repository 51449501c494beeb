"""Every queue that a message can go to has a consumer in the Procfile."""

import re
from pathlib import Path
from typing import Any

from celery import current_app
from django.conf import settings

from apps.batches import figures
from zerobatch.routes import route
from zerobatch.schedule import BEAT_SCHEDULE

PROCFILE = (Path(__file__).resolve().parents[2] / "Procfile").read_text()


def consumed() -> set[str]:
    return {queue for listed in re.findall(r"--queues (\S+)", PROCFILE) for queue in listed.split(",")}


def our_tasks() -> list[str]:
    current_app.loader.import_default_modules()
    return [name for name in current_app.tasks if not name.startswith("celery.")]


def test_every_task_goes_to_a_queue_that_is_consumed() -> None:
    assert our_tasks()
    arguments: tuple[Any, ...] = ("project", 1)
    assert {route(name, arguments)["queue"] for name in our_tasks()} <= consumed()


def test_every_shard_is_consumed_and_can_be_hit() -> None:
    shards = {f"chunks.{number}" for number in range(settings.CHUNK_QUEUES)}
    hit = {route("batches.run_chunk", (f"project {number}", 1))["queue"] for number in range(500)}

    assert hit == shards
    assert shards <= consumed()


def test_the_depth_of_every_queue_is_measured() -> None:
    assert set(figures.queues()) == consumed()


def test_a_projects_chunks_always_go_to_one_shard() -> None:
    assert route("batches.run_chunk", ("p", 1)) == route("batches.run_chunk", ("p", 2))


def test_every_scheduled_task_exists() -> None:
    assert {entry["task"] for entry in BEAT_SCHEDULE.values()} <= set(our_tasks())


def test_every_task_has_an_explicit_name_without_module_path() -> None:
    assert all(name.count(".") == 1 for name in our_tasks())
