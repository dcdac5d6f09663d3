"""Background load: threads that repeat something while the test does something else."""

import threading
import time
from typing import Callable

import psycopg


class BackgroundLoad:
    """Runs `work(connection, thread, round)` in `threads` threads, each with its own connection, until the block ends.

    An error is kept in `errors` (with its time) and the thread goes on with a new connection; `done` counts what succeeded,
    `latencies` has its seconds. `reconnect=False` makes the first error end a thread.

        with BackgroundLoad(cluster, lambda conn, t, i: conn.execute("SELECT 1"), threads=4) as load:
            cluster.kill_engine()
        assert load.done > 0
    """

    def __init__(self, cluster, work: Callable, threads: int = 2, dbname: str = "postgres", reconnect: bool = True, pause: float = 0.0):
        self.cluster, self.work, self.dbname, self.reconnect, self.pause = cluster, work, dbname, reconnect, pause
        self.errors: list[tuple[float, Exception]] = []
        self.latencies: list[float] = []
        self.done = 0
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._loop, args=(t,), daemon=True) for t in range(threads)]

    def _loop(self, thread: int) -> None:
        conn, round_ = None, 0
        while not self._stop.is_set():
            try:
                if conn is None or conn.closed:
                    conn = self.cluster.connect(self.dbname)
                started = time.monotonic()
                self.work(conn, thread, round_)
                with self._lock:
                    self.done += 1
                    self.latencies.append(time.monotonic() - started)
            except (psycopg.Error, AssertionError) as e:
                with self._lock:
                    self.errors.append((time.monotonic(), e))
                if not self.reconnect:
                    return
                time.sleep(0.02)
            round_ += 1
            if self.pause:
                self._stop.wait(self.pause)
        if conn is not None:
            conn.close()

    def __enter__(self) -> "BackgroundLoad":
        for t in self._threads:
            t.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self, timeout: float = 30) -> None:
        """Lets every thread finish what it does now."""
        self._stop.set()
        for t in self._threads:
            t.join(timeout)
        assert not any(t.is_alive() for t in self._threads), "a load thread hangs"
