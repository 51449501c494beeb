"""How deep a JSON document nests."""

from typing import Any

CONTAINERS = frozenset((dict, list))


def nests_deeper(document: Any, levels: int) -> bool:
    """Whether arrays and objects nest beyond `levels`; looks at them level by level, and most documents have four."""
    level = [document] if type(document) in CONTAINERS else []
    for _ in range(levels):
        below: list[Any] = []
        for container in level:
            for child in container.values() if type(container) is dict else container:
                if type(child) in CONTAINERS:
                    below.append(child)
        if not below:
            return False
        level = below
    return True
