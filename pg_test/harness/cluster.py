"""A throw-away PostgreSQL cluster that a test owns: create, start, stop, kill, look inside."""

import contextlib
import dataclasses
import os
import re
import secrets
import shutil
import signal
import subprocess
import time
from pathlib import Path

import psycopg

from .env import STATE, as_pg_user, free_port, give_to_pg_user, pg_path
from .wait import wait_until

# Crashes here are crashes of processes, not of the machine: the kernel keeps what was written, so fsync only costs time.
DEFAULT_CONFIG = {
    "listen_addresses": "",
    "fsync": "off",
    "jit": "off",
    "max_connections": 60,
    "log_min_messages": "info",
    "log_line_prefix": "%m [%p] %b %d ",
    "logging_collector": "off",
    "shared_preload_libraries": "elacsym",
    # tests that spread rows over segments want to find them there
    "elacsym.compaction": "off",
}


class ClusterError(Exception):
    """A server command failed; the message holds its output and the end of the server's log."""


@dataclasses.dataclass(frozen=True)
class Process:
    """One live process of a cluster."""

    pid: int
    ppid: int
    name: str  # as in /proc/PID/stat: postgres, elacsym-engine (cut to 15 bytes)
    cmdline: str  # PostgreSQL's processes write what they do here


class Cluster:
    """A cluster in its own directory below the state directory, reached through its own Unix socket.

    `config`: settings, added to DEFAULT_CONFIG; a value of None removes one. `env`: environment variables of the server
    (credentials for S3, say). `tcp=True` also listens on a free port of 127.0.0.1. `bindir`: programs of another
    PostgreSQL than the one under test. Usable as a context manager, which removes the directory at the end (kept when ELACSYM_KEEP
    is set).
    """

    bindir: Path | None = None

    def __init__(
        self, name: str = "c", config: dict | None = None, env: dict | None = None, tcp: bool = False, preload: bool = True, bindir: Path | None = None
    ):
        # short: a Unix socket path may have 107 bytes
        self.directory = STATE / "clusters" / f"{name[:24]}-{secrets.token_hex(3)}"
        self.data = self.directory / "data"
        self.socket_dir = self.directory / "s"
        self.log_path = self.directory / "log"
        self.port = free_port()
        self.config = dict(DEFAULT_CONFIG)
        if not preload:
            self.config["shared_preload_libraries"] = None
            self.config["elacsym.compaction"] = None
        if tcp:
            self.config["listen_addresses"] = "127.0.0.1"
        self.config.update(config or {})
        self.env = dict(env or {})
        self.bindir = bindir
        self.directory.parent.mkdir(parents=True, exist_ok=True)
        for d in (self.directory, self.socket_dir):
            d.mkdir(mode=0o700 if d == self.socket_dir else 0o755)  # trust authentication: the socket is the door
            give_to_pg_user(d)

        (self.directory / "owner").write_text(str(os.getpid()))

    @staticmethod
    def remove_leftovers() -> None:
        """Ends and removes the clusters of test runs that were killed before they could."""
        for directory in (STATE / "clusters").glob("*"):
            with contextlib.suppress(OSError, ValueError):
                owner = int((directory / "owner").read_text())
                if any(p.pid == owner for p in _all_processes()):
                    continue
                left = object.__new__(Cluster)
                left.directory, left.data, left.socket_dir, left.log_path = directory, directory / "data", directory / "s", directory / "log"
                left.env = {}
                left.destroy()

    # -- life ---------------------------------------------------------------------------------------------------------

    def init(self, *options: str) -> "Cluster":
        """Creates the data directory (initdb, C.UTF-8, superuser `postgres`, trust)."""
        self.run("initdb", "-D", self.data, "-A", "trust", "-U", "postgres", "--no-sync", "-E", "UTF8", "--locale=C.UTF-8", "--no-instructions", *options)
        self.write_config()
        return self

    def write_config(self, **settings) -> None:
        """Writes the settings (after merging `settings`) where they win over postgresql.conf; `reload()` or `restart()` applies them."""
        self.config.update(settings)
        lines = [f"port = {self.port}", f"unix_socket_directories = '{self.socket_dir}'"]
        lines += [f"{k} = {_quote(v)}" for k, v in self.config.items() if v is not None]
        conf = self.data / "conf.d.conf"
        conf.write_text("\n".join(lines) + "\n")
        give_to_pg_user(conf)
        main = self.data / "postgresql.conf"
        include = f"include_if_exists = '{conf.name}'\n"
        if include not in main.read_text():
            with main.open("a") as f:
                f.write(include)

    def start(self, timeout: int = 60) -> "Cluster":
        """Starts the server and waits until it takes connections."""
        if not self.data.exists():
            self.init()
        self.run("pg_ctl", "-D", self.data, "-l", self.log_path, "-w", "-t", timeout, "start", timeout=timeout + 20)
        return self

    def stop(self, mode: str = "fast", timeout: int = 60) -> float:
        """Stops the server; `mode` is smart, fast or immediate. Returns the seconds it took."""
        started = time.monotonic()
        self.run("pg_ctl", "-D", self.data, "-w", "-t", timeout, "-m", mode, "stop", timeout=timeout + 20)
        return time.monotonic() - started

    def restart(self, mode: str = "fast") -> "Cluster":
        """Stops and starts."""
        if self.is_running():
            self.stop(mode)
        return self.start()

    def reload(self) -> None:
        """Makes the server read its configuration again."""
        self.run("pg_ctl", "-D", self.data, "reload")

    def promote(self) -> None:
        """Ends recovery of a standby."""
        self.run("pg_ctl", "-D", self.data, "-w", "promote")

    def kill9(self, everything: bool = False, timeout: float = 20) -> None:
        """SIGKILL to the postmaster, or to all processes of the cluster at once, engine included; waits until none is left.

        When only the postmaster is killed its children notice and leave by themselves: that none is left is part of the check.
        """
        pids = [p.pid for p in self.processes()] if everything else [self.postmaster_pid()]
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not self.processes(), "every process of the killed cluster to end", timeout)
        # Where nobody reaps orphans (a container without init) the dead postmaster's process id stays in use and its lock files
        # look alive, which would stop the next start.
        for lock in (self.data / "postmaster.pid", *self.socket_dir.iterdir()):
            lock.unlink(missing_ok=True)

    def destroy(self) -> None:
        """Ends every process of the cluster and removes its directory (unless ELACSYM_KEEP is set)."""
        if self.is_running():
            try:
                self.stop("immediate", timeout=20)
            except (ClusterError, subprocess.TimeoutExpired):
                pass
        with contextlib.suppress(AssertionError):
            wait_until(lambda: not self.processes(), "the cluster to end", 5)
        for p in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(p.pid, signal.SIGKILL)
        if not os.environ.get("ELACSYM_KEEP"):
            shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> "Cluster":
        return self

    def __exit__(self, *_):
        self.destroy()

    # -- copies -------------------------------------------------------------------------------------------------------

    def standby(self, name: str = "standby", **kwargs) -> "Cluster":
        """A streaming standby of this cluster (pg_basebackup -R), not started. Keyword arguments as for Cluster."""
        return self._copy(name, kwargs, "-R")

    def base_backup(self, name: str = "clone", **kwargs) -> "Cluster":
        """A copy of this cluster (pg_basebackup), not started: a second primary, or what point-in-time recovery begins with."""
        return self._copy(name, kwargs)

    def _copy(self, name: str, kwargs: dict, *options: str) -> "Cluster":
        other = Cluster(name, **{"config": {k: v for k, v in self.config.items() if k != "listen_addresses"}, "env": self.env, **kwargs})
        self.run(
            "pg_basebackup", "-D", other.data, *options, "-X", "stream", "-c", "fast", "--no-sync", "-h", self.socket_dir, "-p", self.port, "-U", "postgres"
        )
        other.write_config()
        return other

    # -- SQL ----------------------------------------------------------------------------------------------------------

    def dsn(self, dbname: str = "postgres", user: str = "postgres") -> str:
        """A libpq connection string."""
        return f"host={self.socket_dir} port={self.port} dbname={dbname} user={user}"

    def connect(self, dbname: str = "postgres", user: str = "postgres", autocommit: bool = True, **kwargs) -> psycopg.Connection:
        """A psycopg 3 connection."""
        return psycopg.connect(self.dsn(dbname, user), autocommit=autocommit, **kwargs)

    def sql(self, query: str, params=None, dbname: str = "postgres", **kwargs) -> list[tuple]:
        """Runs one statement in its own connection and returns its rows (none for a command)."""
        with self.connect(dbname, **kwargs) as conn:
            cur = conn.execute(query, params)
            return cur.fetchall() if cur.description else []

    def value(self, query: str, params=None, dbname: str = "postgres", **kwargs):
        """The first column of the first row, or None."""
        rows = self.sql(query, params, dbname, **kwargs)
        return rows[0][0] if rows else None

    def psql(self, script: str, dbname: str = "postgres", check: bool = True, args: list[str] | None = None, timeout: float = 300) -> str:
        """Runs a script through psql (unaligned, tuples only, stop at the first error) and returns what it printed."""
        options = ["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", *(args or []), "-d", self.dsn(dbname), "-f", "-"]
        return self.run("psql", *options, check=check, input=script, timeout=timeout)

    def create_database(self, dbname: str, extension: bool = True) -> str:
        """CREATE DATABASE, and the extension in it."""
        self.sql(f'CREATE DATABASE "{dbname}"')
        if extension:
            self.sql("CREATE EXTENSION elacsym CASCADE", dbname=dbname)
        return dbname

    # -- looking inside -----------------------------------------------------------------------------------------------

    def postmaster_pid(self) -> int:
        """The postmaster's process id; ClusterError when the server does not run."""
        try:
            return int((self.data / "postmaster.pid").read_text().split("\n", 1)[0])
        except FileNotFoundError:
            raise ClusterError(f"{self.directory.name} does not run") from None

    def is_running(self) -> bool:
        """Whether the postmaster lives."""
        try:
            pid = self.postmaster_pid()
        except ClusterError:
            return False
        return any(p.pid == pid for p in self.processes())

    def processes(self) -> list[Process]:
        """Live processes that belong to this cluster: the postmaster, everything below it, and whatever works in its data
        directory or names it (an engine that outlived its postmaster). Zombies count as dead."""
        every = {p.pid: p for p in _all_processes()}
        # what runs in there, or was started with it as an argument: not the pg_ctl, psql or pytest that name it
        mine = {pid for pid, p in every.items() if p.name.startswith(("postgres", "postmaster", "elacsym")) and self._names_me(p)}
        while True:
            more = {pid for pid, p in every.items() if p.ppid in mine and pid not in mine}
            if not more:
                return [every[pid] for pid in sorted(mine)]
            mine |= more

    def _names_me(self, process: Process) -> bool:
        data = str(self.data)
        try:
            cwd = os.readlink(f"/proc/{process.pid}/cwd").removesuffix(" (deleted)")
        except OSError:
            cwd = ""
        return cwd == data or cwd.startswith(data + "/") or str(self.directory) in process.cmdline

    def engine_pids(self) -> list[int]:
        """Process ids of this cluster's engines (one, unless something is wrong)."""
        return [p.pid for p in self.processes() if p.name == "elacsym-engine"[:15]]

    def kill_engine(self) -> int:
        """SIGKILL to the engine; returns the process id it had."""
        pid = wait_until(self.engine_pids, "an engine to run")[0]
        os.kill(pid, signal.SIGKILL)
        return pid

    def log(self, offset: int = 0) -> str:
        """The server's log from byte `offset` on."""
        if not self.log_path.exists():
            return ""
        with self.log_path.open("rb") as f:
            f.seek(offset)
            return f.read().decode(errors="replace")

    def log_size(self) -> int:
        """Bytes in the log now: an offset for `log` and `wait_for_log`."""
        return self.log_path.stat().st_size if self.log_path.exists() else 0

    def wait_for_log(self, pattern: str, offset: int = 0, timeout: float = 10) -> re.Match:
        """Waits until the log (from `offset` on) matches the regular expression."""
        try:
            return wait_until(lambda: re.search(pattern, self.log(offset)), f"{pattern!r} in the server's log", timeout)
        except AssertionError as e:
            raise AssertionError(f"{e}\n{self.log(offset)[-3000:]}") from None

    # -- running programs ---------------------------------------------------------------------------------------------

    def run(self, program: str, *arguments, env: dict | None = None, input: str | None = None, check: bool = True, timeout: float = 120) -> str:
        """Runs a program of the PostgreSQL under test as the user PostgreSQL runs as; returns stdout and stderr together.

        No PG… or RUST_… variable of the caller's environment gets through. ClusterError when it fails, unless `check` is False.
        """
        arguments = [str(a) for a in arguments]
        # RUST_BACKTRACE would put a backtrace into the text of errors that pass through Rust
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("PG", "RUST_"))} | {"LC_ALL": "C.UTF-8"} | self.env | (env or {})
        # a file, not a pipe: the server that pg_ctl leaves behind would keep a pipe open
        output = self.directory / f"out-{secrets.token_hex(3)}"
        with output.open("w+") as out:
            done = subprocess.run(
                [str((self.bindir or pg_path("bindir")) / program), *arguments],
                stdin=subprocess.DEVNULL if input is None else None,
                input=input,
                stdout=out,
                stderr=subprocess.STDOUT,
                text=True,
                env=environment,
                cwd=self.directory,
                timeout=timeout,
                **as_pg_user(),
            )
            out.seek(0)
            text = out.read()
        output.unlink(missing_ok=True)
        if check and done.returncode != 0:
            tail = "" if program == "psql" else f"\nthe end of the server's log:\n{self.log()[-3000:]}"
            raise ClusterError(f"{program} {' '.join(arguments)} failed ({done.returncode}):\n{text}{tail}")
        return text


def _quote(value) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return "'" + str(value).replace("'", "''") + "'"


def _all_processes():
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            stat = (entry / "stat").read_text()
            cmdline = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:
            continue  # ended meanwhile
        name, rest = stat[stat.index("(") + 1 : stat.rindex(")")], stat[stat.rindex(")") + 2 :].split()
        if rest[0] not in "ZX":
            yield Process(int(entry.name), int(rest[1]), name, cmdline)
