"""ZeroBatch on hosts of its own, brought up by the commands of docs/deployment.md as they stand there."""

import os
import re
import shutil
import ssl
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import psycopg
import requests
import trustme
from openai import OpenAI

from apps.devstack import postgres, seaweed, throwaway, valkey
from apps.devstack.programs import valkey_binary
from apps.devstack.waiting import until
from tests.hosts import Host, Lab, inside
from tests.stack import ROOT, Stack

PAGE = ROOT / "docs" / "deployment.md"
DOMAIN = "batch.example.com"
OURS = ("web", "worker-1", "worker-2")
THEIRS = ("postgres", "redis", "s3", "gpu", "client")
GPU_PORT = 8000
GIT = shutil.which("git")
FETCHED = re.compile(r"^python3 -m venv .*\n.*pip install .*\n", re.MULTILINE)
"""What needs a package registry, which hosts without a way out do not have."""

# What a namespace does not have: a registry, a git server, an init and an sshd. `git clone` takes what is not committed
# too, and what is sent by scp is there when the other host's shell gets its next commands.
STAND_INS = {
    "apt-get": "mkdir -p /etc/nginx/conf.d /etc/systemd/system",
    "git": f'mkdir -p "$4"; cd {ROOT}; {GIT} ls-files -coz --exclude-standard | tar c --null -T - | tar xoC "$4"',
    "scp": 'to="$POST/${3%%:*}${3#*:}"; mkdir -p "$(dirname "$to")"; cp "$2" "$to"',
    "systemctl": f'exec {sys.executable} {ROOT / "tests" / "fakes" / "systemctl.py"} "$@"',
}


class Block(NamedTuple):
    """Commands of the page, and the hosts on which they are to be run, one after the other."""

    hosts: Sequence[str]
    commands: str


def blocks() -> list[Block]:
    """All of the page that name their hosts, in order."""
    found = re.findall(r"<!-- on: (.+?) -->\n```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return [Block(hosts.split(), commands) for hosts, commands in found]


class Shell:
    """A root shell on a host, as a person would have one open: what one block defines the next one may use."""

    def __init__(self, host: Host, env: dict[str, str]) -> None:
        self._host = host.name
        self._process = subprocess.Popen(
            host.argv("bash", "-euo", "pipefail"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            bufsize=1,
            env=env,
        )

    def run(self, commands: str) -> str:
        """What they print; fails if any of them does."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{commands}\necho '<done>'\n")
        self._process.stdin.flush()
        said = ""
        while not said.endswith("<done>\n"):
            line = self._process.stdout.readline()
            assert line, f"on {self._host}:\n{commands}\n{said}"
            said += line
        return said.removesuffix("<done>\n")

    def close(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process.wait(10)


class Installation(Stack):
    """The running service, for drills: a Stack whose processes are on hosts, and whose address is nginx's.

    The calling thread is on the host `client` from now on, until it is stopped.
    """

    def __init__(self, folder: Path, lab: Lab, settings: Mapping[str, str]) -> None:
        """`settings` are added to those of the page."""
        self.var_dir, self.lab, self.env = folder, lab, {}
        self._settings = "".join(f"{name}={value}\\n" for name, value in settings.items())
        self._clients: list[OpenAI] = []
        self._authority = trustme.CA()
        self._made = ExitStack()
        try:
            self._made.enter_context(inside(lab["client"]))
            self._start_services()
            self._prepare_hosts()
            self._follow_the_page()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        for client in self._clients:
            client.close()
        self._made.close()

    def sdk(self, api_key: str | None = None, **options: Any) -> OpenAI:
        context = ssl.create_default_context()
        self._authority.configure_trust(context)
        return super().sdk(api_key, http_client=httpx2.Client(verify=context, timeout=30), **options)

    def get(self, path: str, **headers: str) -> requests.Response:
        url = self.base_url.removesuffix("/v1") + path
        return requests.get(url, headers=headers, timeout=30, verify=str(self.var_dir / "authority.pem"))

    def running(self) -> dict[str, str]:
        """host → its units and their pids, of those that live; nobody restarts one here, so none may go."""
        look = 'cd /var/lib/systemctl; for unit in *; do [ ! -d /proc/$(cat $unit) ] || echo "$unit $(cat $unit)"; done'
        return {name: self.lab[name].run(look) for name in OURS}

    def log(self, host: str, unit: str) -> str:
        """What the unit's process has said."""
        return self.lab[host].run(f"cat /var/log/zerobatch@{unit}.log")

    def _start_services(self) -> None:
        """Postgres, Redis and S3, each on its host, as section 1 of the page wants them."""
        at = {name: self.lab[name].address for name in ("postgres", "redis")}
        cluster = postgres.prepare(self.var_dir)
        self._made.callback(postgres.discard, self.var_dir)
        with (cluster.data / "pg_hba.conf").open("a") as rules:
            rules.write("host all all 10.20.0.0/16 scram-sha-256\n")
        argv = cluster.argv(5432, listen_addresses="*", **throwaway.NOT_DURABLE)
        self._start("postgres", argv, account=cluster.account)
        self.env["DATABASE_URL"] = cluster.url(5432).replace("127.0.0.1", at["postgres"])
        server = cluster.url(5432, "postgres").replace("127.0.0.1", at["postgres"])
        until(lambda: postgres.accepts(server), seconds=30, what="Postgres did not start")
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {postgres.DATABASE}")
        options = {**valkey.THROW_AWAY, "bind": "0.0.0.0"}
        argv, url = valkey.configure(self.var_dir / "redis", 6379, options)
        self.env["REDIS_URL"] = url.replace("127.0.0.1", at["redis"])
        self._start_valkey()
        until(self._redis_answers, seconds=30, what="Redis did not start")
        self._start_s3(self.lab["s3"].address)

    def _start_s3(self, address: str) -> None:
        server = seaweed.prepare(self.var_dir / "s3")
        argv = [part.replace("127.0.0.1", address) for part in server.argv()]
        keys = [f"{name}={value}" for name, value in server.env().items()]
        self._start("s3", ["env", *keys, *argv])
        variables = server.variables()
        self.env |= {**variables, "S3_ENDPOINT_URL": variables["S3_ENDPOINT_URL"].replace("127.0.0.1", address)}
        until(lambda: seaweed.answers(self.env), seconds=60, what="S3 did not start")

    def _start_valkey(self) -> None:
        folder = self.var_dir / "redis"
        self._start("redis", ["sh", "-c", f"cd {folder} && exec {valkey_binary()} valkey.conf"])

    def replace_redis(self) -> None:
        """By an empty one of the same address, while nobody can see it."""
        self.lab["redis"].run("kill -KILL $(pidof valkey-server)")
        self._start_valkey()

    def _start(self, host: str, argv: Sequence[str | Path], account: tuple[int, int] | None = None) -> None:
        with (self.var_dir / f"{host}.log").open("ab") as output:
            self.lab[host].start(*argv, output=output, account=account)

    def _prepare_hosts(self) -> None:
        """What a person who follows the page has: a certificate, and the programs it names."""
        tools = self.var_dir / "bin"
        tools.mkdir()
        for name, script in STAND_INS.items():
            (tools / name).write_text(f"#!/bin/sh\nset -e\n{script}\n")
            (tools / name).chmod(0o755)
        self._authority.cert_pem.write_to_path(str(self.var_dir / "authority.pem"))
        certificate = self._authority.issue_cert(DOMAIN, self.lab["web"].address)
        certificate.private_key_and_cert_chain_pem.write_to_path(str(self.var_dir / "web.pem"))
        self.lab["web"].run(
            f"mkdir -p /etc/ssl/zerobatch; cd /etc/ssl/zerobatch; cp {self.var_dir}/web.pem certificate.pem;"
            f"cp {self.var_dir}/web.pem key.pem"
        )

    def _follow_the_page(self) -> None:
        shells = {
            name: self._made.enter_context(closing(Shell(self.lab[name], self._shell_env(name)))) for name in OURS
        }
        said = ""
        for block in blocks():
            for name in block.hosts:
                commands = block.commands
                if FETCHED.search(commands):
                    commands = FETCHED.sub(f"ln -s {ROOT}/.venv /opt/zerobatch/.venv\n", commands)
                if "systemctl enable" in commands:
                    commands = f"printf '{self._settings}' >> /etc/zerobatch/env\n{commands}"
                said += shells[name].run(f'[ ! -d "$MAIL" ] || {{ cp -r "$MAIL/." /; rm -r "$MAIL"; }}\n{commands}')
        key = re.search(r"^(zb_\S+)$", said, re.MULTILINE)
        project = re.search(r"^([0-9a-f-]{36})$", said, re.MULTILINE)
        assert key, said
        assert project, said
        self.base_url, self.api_key = f"https://{self.lab['web'].address}/v1", key[1]
        self.env |= {"ZEROBATCH_PROJECT_ID": project[1], "ZEROBATCH_API_KEY": key[1]}

    def _shell_env(self, name: str) -> dict[str, str]:
        hosts = {"DATABASE_URL": "postgres", "REDIS_URL": "redis", "S3_ENDPOINT_URL": "s3"}
        urls = {url: self.env[url].replace(self.lab[host].address, host) for url, host in hosts.items()}
        return {
            "PATH": f"{self.var_dir}/bin:{os.environ['PATH']}",
            "POST": f"{self.var_dir}/post",
            "MAIL": f"{self.var_dir}/post/{name}",
            "SOURCE": "zerobatch.git",
            "DOMAIN": DOMAIN,
            "INFERENCE_BASE_URL": f"http://gpu:{GPU_PORT}/v1",
            **{name: value for name, value in self.env.items() if name.startswith(("S3_", "AWS_"))},
            **urls,
        }
