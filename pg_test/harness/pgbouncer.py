"""A PgBouncer process in transaction mode in front of a cluster."""

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess

from .cluster import Cluster
from .env import STATE, as_pg_user, free_port, give_to_pg_user
from .wait import wait_until


def pgbouncer_command() -> tuple[str, dict]:
    """The program and the environment it needs: the system's, or the copy that scripts/setup.sh unpacked."""
    found = shutil.which("pgbouncer", path=os.environ.get("PATH", "") + ":/usr/sbin")
    if found:
        return found, {}
    root = STATE / "pgbouncer"
    libraries = ":".join(str(d) for d in sorted(root.glob("usr/lib/*-linux-gnu")))
    return str(root / "usr/sbin/pgbouncer"), {"LD_LIBRARY_PATH": libraries}


class PgBouncer:
    """PgBouncer on a free port of 127.0.0.1, which hands every transaction to the next server connection in turn.

    In turn (`server_round_robin`), so that a client that relies on session state across transactions fails here always, not
    sometimes. Usable as a context manager.
    """

    def __init__(self, cluster: Cluster):
        self.port = free_port()
        self.directory = STATE / "clusters" / f"bouncer-{secrets.token_hex(3)}"
        self.log_path = self.directory / "log"
        self.process: subprocess.Popen | None = None
        self.directory.mkdir(parents=True)
        # as for clusters: the directory of a test run that was killed is removed by the next one
        (self.directory / "owner").write_text(str(os.getpid()))
        give_to_pg_user(self.directory)
        self.config = self.directory / "pgbouncer.ini"
        self.config.write_text(
            f"""[databases]
* = host={cluster.socket_dir} port={cluster.port} user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {self.port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 3
min_pool_size = 3
server_round_robin = 1
logfile = {self.log_path}
"""
        )

    def start(self) -> "PgBouncer":
        """Starts it and waits until it listens."""
        program, env = pgbouncer_command()
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PG")} | env
        self.process = subprocess.Popen(
            [program, "-q", str(self.config)],
            env=environment,
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            **as_pg_user(),
        )
        wait_until(self._listens, f"PgBouncer to listen on {self.port}: {self.log()}", 10)
        return self

    def _listens(self) -> bool:
        if self.process.poll() is not None:
            raise RuntimeError(f"PgBouncer ended with code {self.process.returncode}:\n{self.log()}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        return False

    def log(self) -> str:
        """What it logged."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def stop(self) -> None:
        """Ends the process and removes its directory (unless ELACSYM_KEEP is set)."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)  # at once, connections or not
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)
        if not os.environ.get("ELACSYM_KEEP"):
            shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> "PgBouncer":
        return self.start()

    def __exit__(self, *_):
        self.stop()
