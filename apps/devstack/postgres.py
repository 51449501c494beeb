"""An embedded PostgreSQL: where its data lies, how it is created and the command that serves it."""

import hashlib
import os
import pwd
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path

import psycopg

from apps.devstack import private, spawn
from apps.devstack.errors import DevstackError
from apps.devstack.programs import postgres_binaries

USER = "zerobatch"
DATABASE = "zerobatch"
# For root only: PostgreSQL refuses to run as root, and `nobody` may be unable to enter VAR_DIR.
STATE_DIR = Path("/var/lib/zerobatch")
MINIMAL_ENV = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C"}


@dataclass(frozen=True)
class Cluster:
    """One database cluster; `account` is (uid, gid) when the server must run as somebody else than us."""

    data: Path
    binaries: Path
    account: tuple[int, int] | None
    password: str

    def argv(self, port: int, **settings: str) -> list[str]:
        """The server's command line; it listens on 127.0.0.1 and opens no Unix socket."""
        options = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "max_connections": "200",
            **settings,
        }
        flags = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        return [str(self.binaries / "postgres"), "-D", str(self.data), "-p", str(port), *flags]

    def url(self, port: int, database: str = DATABASE) -> str:
        return f"postgres://{USER}:{self.password}@127.0.0.1:{port}/{database}"


def prepare(var_dir: Path) -> Cluster:
    """The cluster of `var_dir`, created unless a former start completed it."""
    account = _account()
    data, kept = _home(var_dir, account) / "data", var_dir / "postgres" / "password"
    # The password is kept once initdb has completed. Without it the data is half-made, or of a VAR_DIR since removed.
    complete = kept.exists() and data.exists()
    if complete and account is not None:
        account = data.stat().st_uid, data.stat().st_gid
    password = kept.read_text().strip() if complete else secrets.token_urlsafe(24)
    cluster = Cluster(data, postgres_binaries(account, STATE_DIR), account, password)
    if not complete:
        _initdb(cluster)
        kept.parent.mkdir(exist_ok=True)
        private.write(kept, cluster.password)
    return cluster


def far_home(var_dir: Path) -> Path:
    """Where the data of `var_dir` lies when the server's user cannot enter it."""
    return STATE_DIR / hashlib.sha256(os.fsencode(var_dir)).hexdigest()[:12]


def discard(var_dir: Path) -> None:
    """Remove the data of `var_dir`; its server must have stopped."""
    shutil.rmtree(var_dir / "postgres", ignore_errors=True)
    if os.geteuid() == 0:
        shutil.rmtree(far_home(var_dir), ignore_errors=True)


def accepts(url: str) -> bool:
    """Does the server behind `url` take connections?"""
    try:
        psycopg.connect(url, connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


def create_database(cluster: Cluster, port: int) -> None:
    """Create our database if it is missing."""
    with psycopg.connect(cluster.url(port, "postgres"), autocommit=True) as connection:
        if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone():
            connection.execute(f"CREATE DATABASE {DATABASE}")


def _account() -> tuple[int, int] | None:
    if os.geteuid() != 0:
        return None
    users = [user for user in pwd.getpwall() if user.pw_uid > 0]
    if not users:
        raise DevstackError("PostgreSQL refuses to run as root, and there is no other user: set DATABASE_URL")
    user = next((user for user in users if user.pw_name == "nobody"), users[0])
    return user.pw_uid, user.pw_gid


def _home(var_dir: Path, account: tuple[int, int] | None) -> Path:
    near, far = var_dir / "postgres", far_home(var_dir)
    if account is None:
        return _made(near)
    if (far / "data").exists() or not _can_enter(var_dir, account):
        if (near / "data").exists():
            raise DevstackError(f"{near} has a database that its user cannot enter: chmod o+x the folders above it")
        print(f"  PostgreSQL's data: {far} (its user cannot enter {var_dir})", flush=True)
        return _made(far)
    return _made(near)


def _made(home: Path) -> Path:
    home.mkdir(parents=True, exist_ok=True)
    home.chmod(0o755)  # whatever the umask: the server's user must pass; the data itself is 0700
    return home


def _can_enter(folder: Path, account: tuple[int, int]) -> bool:
    done = spawn.run(["/bin/sh", "-c", 'cd "$1"', "sh", folder], account=account, cwd=Path("/"))
    return done.returncode == 0


def _initdb(cluster: Cluster) -> None:
    """Create the data folder in one visible step: an interrupted initdb leaves nothing that looks complete."""
    fresh, pwfile = cluster.data.with_name("data.new"), cluster.data.with_name("initdb.password")
    for leftover in (fresh, cluster.data):
        shutil.rmtree(leftover, ignore_errors=True)
    fresh.mkdir(mode=0o700)
    private.write(pwfile, cluster.password)
    if cluster.account:
        os.chown(fresh, *cluster.account)
        os.chown(pwfile, *cluster.account)
    command: list[str | Path] = [
        cluster.binaries / "initdb",
        "-D",
        fresh,
        "-U",
        USER,
        f"--pwfile={pwfile}",
        "--auth=scram-sha-256",
    ]
    options = ["--locale=C", "--encoding=UTF8", "--no-sync", "--no-instructions"]
    done = spawn.run([*command, *options], account=cluster.account, cwd=fresh.parent, env=MINIMAL_ENV)
    pwfile.unlink()
    if done.returncode != 0:
        raise DevstackError(f"initdb failed in {fresh}:\n{done.stderr}")
    fresh.rename(cluster.data)
