"""Subprocesses that do not outlive the process which started them."""

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import IO

from apps.devstack.child import die_with_parent


def spawn(
    argv: Sequence[str | Path],
    *,
    output: IO[bytes] | int | None = None,
    errors: IO[bytes] | int = subprocess.STDOUT,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    account: tuple[int, int] | None = None,
    death_signal: int = signal.SIGTERM,
    pass_fds: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Start `argv` in a process group of its own, so that a Ctrl-C in the terminal reaches only this process.

    `output` takes stdout, and stderr unless `errors` does; `account` is (uid, gid). The child gets `death_signal`
    when the calling thread ends: call it from the main thread.
    """
    uid, gid = account or (None, None)
    return subprocess.Popen(
        list(argv),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=errors if output is not None else None,
        cwd=cwd,
        env=env,
        user=uid,
        group=gid,
        extra_groups=[] if account else None,
        process_group=0,
        pass_fds=pass_fds,
        # Callers have one thread. A wrapper program instead would cost 20 ms at every call.
        preexec_fn=partial(die_with_parent, int(death_signal), os.getpid()),  # noqa: PLW1509
    )


def run(
    argv: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    account: tuple[int, int] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run `argv` to its end; killed when this process is interrupted meanwhile."""
    pipe = subprocess.PIPE
    kill = signal.SIGKILL
    with spawn(argv, output=pipe, errors=pipe, cwd=cwd, env=env, account=account, death_signal=kill) as child:
        try:
            written, complained = child.communicate()
        except BaseException:
            child.kill()
            raise
    return subprocess.CompletedProcess(child.args, child.returncode, _text(written), _text(complained))


def end(child: subprocess.Popen[bytes], *, stop_signal: int = signal.SIGTERM, seconds: float = 10) -> int:
    """Ask `child` to stop, insist after `seconds`; its exit code."""
    child.send_signal(stop_signal)
    try:
        return child.wait(seconds)
    except subprocess.TimeoutExpired:
        child.kill()
        return child.wait()


def _text(written: bytes) -> str:
    return written.decode(errors="replace").strip()
