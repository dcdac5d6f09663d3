"""What the figures were measured on."""

import datetime
import os
import platform
import re
import subprocess
from pathlib import Path

from harness import REPO

from .server import Server, total_memory

SHOWN_EXTENSIONS = ("elacsym", "vector", "vchord", "vchord_bm25", "pg_tokenizer", "rum")
SHOWN_SETTINGS = (
    "shared_buffers", "maintenance_work_mem", "work_mem", "max_parallel_maintenance_workers", "max_parallel_workers_per_gather", "fsync",
    "synchronous_commit", "autovacuum", "jit", "elacsym.build_memory", "elacsym.cache_memory", "elacsym.engine_threads",
)  # fmt: skip


def describe(server: Server) -> dict:
    """Machine, versions, settings, commit and date."""
    cpu = re.search(r"^(?:model name|Model)\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.M)
    extensions = server.conn.execute("SELECT extname, extversion FROM pg_extension WHERE extname = ANY(%s) ORDER BY 1", [list(SHOWN_EXTENSIONS)]).fetchall()
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d"),
        "commit": commit(),
        "machine": {
            "cpu": cpu[1] if cpu else platform.machine(),
            "cores": len(os.sched_getaffinity(0)),
            "memory": total_memory(),
            "system": f"{platform.system()} {platform.release().split('-')[0]}, {platform.machine()}",
        },
        "postgresql": "PostgreSQL " + server.value("SHOW server_version").split()[0],
        "extensions": dict(extensions),
        "settings": {name: server.value(f"SHOW {name}") for name in SHOWN_SETTINGS},
    }


def commit() -> str:
    """The commit of the clone, marked where files differ from it."""
    def git(*arguments: str) -> str:
        done = subprocess.run(["git", "-C", str(REPO), *arguments], capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else ""

    # a tree whose pictures and page the bench itself has written is not another program
    changed = [line for line in git("status", "--porcelain").splitlines() if not line[3:].startswith("docs/performance")]
    return (git("rev-parse", "--short=10", "HEAD") or "unknown") + (" with changes" if changed else "")
