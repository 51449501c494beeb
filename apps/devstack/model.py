"""Serves SmolLM2-135M on an OpenAI-compatible port, with llama.cpp: `python -m apps.devstack.model --port N`."""

import argparse
import os
import signal

from apps.devstack import packages

SLOTS = 8
CONTEXT = 1024  # tokens per slot
NAME = "smollm2"


def serve(port: int) -> None:
    """Serve on 127.0.0.1 until a signal ends the process."""
    import xllamacpp  # noqa: PLC0415  the parent checks for it first and tells what to install

    params = xllamacpp.CommonParams()
    params.model.path = str(packages.weights())
    params.model_alias = {NAME}
    params.port = port  # the address is 127.0.0.1 unless told otherwise
    params.cache_ram_mib = 0  # by default llama.cpp keeps up to 8 GB of old prompts
    params.n_parallel = SLOTS
    params.n_ctx = SLOTS * CONTEXT
    # Half the cores: the rest of the stack lives here too, and llama.cpp threads that wait for each other burn a core.
    params.cpuparams.n_threads = max(1, (os.cpu_count() or 1) // 2)
    server = xllamacpp.Server(params)
    while server:
        signal.pause()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    serve(parser.parse_args().port)
