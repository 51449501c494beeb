"""Hosts of our own making: network namespaces around a router that can lose packets without a word to anybody.

A host has a network, a name, processes and changes to /etc, /opt, /root, /srv, /home and /var of its own. All else it
shares with this machine, and all is gone with the process that holds it. None can reach this machine's network.
"""

import ctypes
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

import psutil

from apps.devstack import spawn

OWN_FOLDERS = "etc opt root srv home var"
NETWORK = "10.20"
"""Each host is 10.20.<number>.2, behind the router's 10.20.<number>.1; nobody outside can tell."""
BEFORE_ALL_ROUTES = "10"

# SIGCHLD is ignored, and stays so in what is executed: whatever loses its parent here leaves no zombie behind.
HOLD = f"""
set -e
mount --make-rprivate /
echo "$1" > /proc/sys/kernel/hostname
mount -t tmpfs tmpfs "$2"
for folder in {OWN_FOLDERS}; do
  mkdir -p "$2/$folder/upper" "$2/$folder/work"
  mount -t overlay overlay -o "lowerdir=/$folder,upperdir=$2/$folder/upper,workdir=$2/$folder/work" "/$folder"
done
chmod o+x /root  # where this Python may lie; the change is this host's own
ip link set lo up
trap '' CHLD
echo held
exec sleep infinity
"""


class NotPermitted(Exception):
    """This machine gives us no hosts: not Linux, not root, no iproute2, or namespaces are not permitted."""


class Host:
    """One host; `address` is where the others find it, and the router has none."""

    def __init__(self, name: str, folder: Path, address: str = "") -> None:
        self.name, self.address = name, address
        self._started: list[subprocess.Popen[bytes]] = []
        folder.mkdir()
        spaces = ["--net", "--uts", "--ipc", "--mount", "--pid", "--mount-proc"]
        self._holder = spawn.spawn(
            ["unshare", *spaces, "--fork", "--kill-child", "sh", "-c", HOLD, "sh", name, folder],
            output=subprocess.PIPE,
            death_signal=signal.SIGKILL,
        )
        assert self._holder.stdout is not None
        said = self._holder.stdout.readline().decode()
        if said != "held\n":
            self._holder.kill()
            raise NotPermitted(said + self._holder.stdout.read().decode())
        (first,) = psutil.Process(self._holder.pid).children()
        self.pid = int(first.pid)

    def stop(self) -> None:
        """The end of all its processes, as if the power was cut."""
        self._holder.kill()
        self._holder.wait()
        for process in self._started:
            process.wait(10)
        if self._holder.stdout is not None:
            self._holder.stdout.close()

    def argv(self, *command: str | Path, account: tuple[int, int] | None = None) -> list[str | Path]:
        """The command line that runs a command on this host."""
        as_user = ["--setuid", str(account[0]), "--setgid", str(account[1])] if account else []
        spaces = ["--net", "--uts", "--ipc", "--mount", "--pid"]
        return ["nsenter", "--target", str(self.pid), *spaces, *as_user, "--", *command]

    def run(self, script: str, env: Mapping[str, str] | None = None) -> str:
        """What a script of bash prints there, run as root; fails if any of its commands does."""
        done = spawn.run(self.argv("bash", "-euo", "pipefail", "-c", script), env={**os.environ, **(env or {})})
        assert done.returncode == 0, f"on {self.name}: {script}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def start(self, *command: str | Path, output: IO[bytes], account: tuple[int, int] | None = None) -> None:
        """A process that lives as long as the host."""
        argv = self.argv(*command, account=account)
        self._started.append(spawn.spawn(argv, output=output, cwd=Path("/"), death_signal=signal.SIGKILL))

    def ip(self, *arguments: str) -> None:
        """`ip`, about this host's network, where this machine's processes can be named."""
        network = f"--net=/proc/{self.pid}/ns/net"
        subprocess.run(["nsenter", network, "ip", *arguments], check=True, capture_output=True)


class Lab:
    """A router and the hosts around it."""

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        if os.geteuid() != 0:
            raise NotPermitted("hosts are network namespaces, and making them needs root")
        self._made = ExitStack()
        self.hosts: dict[str, Host] = {}
        try:
            self.router = self._keep(Host("router", folder / "router"))
            self.router.run("echo 1 > /proc/sys/net/ipv4/ip_forward")
            for number, name in enumerate(names, 1):
                self.hosts[name] = host = self._keep(Host(name, folder / name, f"{NETWORK}.{number}.2"))
                self._wire(host, f"{NETWORK}.{number}.1")
        except (FileNotFoundError, PermissionError) as error:
            self.stop()
            raise NotPermitted(str(error)) from None
        except BaseException:
            self.stop()
            raise
        names_of_all = "".join(f"{host.address} {host.name}\n" for host in self.hosts.values())
        for host in self.hosts.values():
            host.run(f"printf '127.0.0.1 localhost\\n{names_of_all}' > /etc/hosts")

    def __getitem__(self, name: str) -> Host:
        return self.hosts[name]

    def stop(self) -> None:
        self._made.close()

    def _keep(self, host: Host) -> Host:
        self._made.callback(host.stop)
        return host

    def _wire(self, host: Host, gateway: str) -> None:
        port = f"to-{host.name}"
        self.router.ip("link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", str(host.pid))
        self.router.ip("address", "add", f"{gateway}/24", "dev", port)
        self.router.ip("link", "set", port, "up")
        host.ip("address", "add", f"{host.address}/24", "dev", "eth0")
        host.ip("link", "set", "eth0", "up")
        host.ip("route", "add", "default", "via", gateway)

    @contextmanager
    def cut(self, name: str) -> Iterator[None]:
        """Every packet from and to this host is lost at the router while the block lasts, and nobody is told."""
        address = self.hosts[name].address
        rules = [[way, address, "priority", BEFORE_ALL_ROUTES, "blackhole"] for way in ("from", "to")]
        try:
            for rule in rules:
                self.router.ip("rule", "add", *rule)
            yield
        finally:
            for rule in rules:
                self.router.ip("rule", "delete", *rule)


@contextmanager
def inside(host: Host) -> Iterator[None]:
    """The calling thread, and what it starts, is on the host's network while the block lasts: sockets stay there."""
    libc = ctypes.CDLL(None, use_errno=True)
    with Path("/proc/thread-self/ns/net").open() as here, Path(f"/proc/{host.pid}/ns/net").open() as there:
        assert libc.setns(there.fileno(), 0) == 0, os.strerror(ctypes.get_errno())
        try:
            yield
        finally:
            assert libc.setns(here.fileno(), 0) == 0, os.strerror(ctypes.get_errno())
