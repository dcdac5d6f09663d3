"""A small file system of its own, which a test fills up and empties."""

import contextlib
import os
import subprocess
from pathlib import Path

from .env import give_to_pg_user


class SmallDisk:
    """A tmpfs of so many bytes at `path`, which belongs to the user that PostgreSQL runs as. Needs the right to mount."""

    def __init__(self, path: Path, size: int):
        self.path, self.size = path, size
        self.ballast = path / "ballast"

    @staticmethod
    def problem(path: Path) -> str | None:
        """Why there can be none; None if there can."""
        if os.geteuid() != 0:
            return "only root may mount a small file system"
        path.mkdir(parents=True, exist_ok=True)
        tried = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", path], capture_output=True, text=True)
        if tried.returncode != 0:
            return f"no file system can be mounted here: {tried.stderr.strip()}"
        subprocess.run(["umount", path], check=True)
        return None

    def __enter__(self) -> "SmallDisk":
        self.path.mkdir(parents=True, exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={self.size},mode=0700", "tmpfs", self.path], check=True)
        give_to_pg_user(self.path)
        return self

    def __exit__(self, *_):
        # lazily: an engine may still have its files open
        subprocess.run(["umount", "-l", self.path], check=False)
        # what the owner of the directory could not remove
        for left in (self.path, self.path.parent):
            with contextlib.suppress(OSError):
                left.rmdir()

    def free(self) -> int:
        """Bytes that are left."""
        stat = os.statvfs(self.path)
        return stat.f_bavail * stat.f_frsize

    @contextlib.contextmanager
    def full(self, leaving: int = 0):
        """A file takes what is left, but for `leaving` bytes."""
        with self.ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while self.free() > leaving:
                file.write(bytes(min(self.free() - leaving, 1 << 20)))
        try:
            yield self
        finally:
            self.ballast.unlink()
