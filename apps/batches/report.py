"""What a worker process says of itself with each heartbeat, for the dashboard; nothing rests on it."""

from typing import Any

from apps.batches.outcomes import outcomes
from apps.upstreams import live


def of_this_process() -> dict[str, Any]:
    """`upstreams`: name → Glance; `minutes`: outcome → lines, of each of the last minutes, the latest first. JSON."""
    upstreams = {name: glance._asdict() for name, glance in live.follower.glances.items()}
    return {"upstreams": upstreams, "minutes": outcomes.by_minute()}
