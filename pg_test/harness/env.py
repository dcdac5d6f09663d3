"""Where things are: the clone, the state directory, the PostgreSQL under test, the user it runs as."""

import functools
import hashlib
import os
import pwd
import re
import socket
import subprocess
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]


def _state() -> Path:
    # the same rule as scripts/lib.sh
    if "ELACSYM_STATE" in os.environ:
        return Path(os.environ["ELACSYM_STATE"])
    return Path(f"/var/tmp/elacsym-{os.getuid()}-{hashlib.sha256(str(REPO).encode()).hexdigest()[:8]}")


STATE = _state()


def _pg_config() -> str:
    if "ELACSYM_PG_CONFIG" in os.environ:
        return os.environ["ELACSYM_PG_CONFIG"]
    copies = sorted(STATE.glob("pg/*/**/bin/pg_config"))
    return str(copies[0]) if copies else "pg_config"


# pg_config of the PostgreSQL under test; one pytest run tests one PostgreSQL.
PG_CONFIG = _pg_config()


@functools.cache
def pg_path(what: str) -> Path:
    """A directory of the PostgreSQL under test, `what` as pg_config's option names it: bindir, pkglibdir, sharedir."""
    out = subprocess.run([PG_CONFIG, f"--{what}"], check=True, capture_output=True, text=True)
    return Path(out.stdout.strip())


@functools.cache
def pg_major() -> int:
    """15, 16, 18…"""
    out = subprocess.run([PG_CONFIG, "--version"], check=True, capture_output=True, text=True).stdout
    match = re.search(r"PostgreSQL (\d+)", out)
    assert match, f"{PG_CONFIG} --version says {out!r}"
    return int(match[1])


def _installed() -> bool:
    try:
        return (pg_path("pkglibdir") / "elacsym.so").exists()
    except (OSError, subprocess.CalledProcessError):
        return False


# Whether elacsym is installed in the PostgreSQL under test.
ELACSYM_INSTALLED = _installed()

# The data sets that are not part of the repository (SciFact, arXiv); None where they are not there.
_shared = Path(os.environ.get("ELACSYM_SHARED_DATA", REPO.parent / "shared" / "data"))
SHARED_DATA = _shared if _shared.is_dir() else None


def pg_user() -> str:
    """PostgreSQL refuses to run as root; then it runs as `postgres`, otherwise as whoever runs the tests."""
    if os.getuid() == 0:
        return os.environ.get("ELACSYM_PG_USER", "postgres")
    return pwd.getpwuid(os.getuid()).pw_name


def as_pg_user() -> dict:
    """Arguments for `subprocess` that make the child run as `pg_user()`."""
    if os.getuid() != 0:
        return {}
    entry = pwd.getpwnam(pg_user())
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": os.getgrouplist(entry.pw_name, entry.pw_gid)}


def give_to_pg_user(path: Path) -> None:
    """Makes `path` belong to the user that PostgreSQL runs as."""
    if os.getuid() == 0:
        entry = pwd.getpwnam(pg_user())
        os.chown(path, entry.pw_uid, entry.pw_gid)


def free_port() -> int:
    """A TCP port on 127.0.0.1 that nobody listens on now."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]
