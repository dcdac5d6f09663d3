"""An S3 server that fails: a proxy in front of a real one, which a test breaks and mends while the cluster works."""

import contextlib
import dataclasses
import http.client
import re
import socket
import threading
import time
from typing import Callable

from .env import free_port
from .moto import Moto

HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "proxy-connection"}
ERROR = "<?xml version='1.0'?><Error><Code>{code}</Code><Message>injected</Message></Error>"


@dataclasses.dataclass
class Fault:
    """What happens to the requests that match, `times` times (None: until it is removed)."""

    what: str  # status, slow, partial, corrupt, lost, silent
    value: float = 0  # of status: the code; of slow: seconds
    code: str = "InternalError"
    methods: tuple = ("GET", "HEAD", "PUT", "POST", "DELETE")
    path: str = ""  # a regular expression, searched in path and query
    times: int | None = None
    hits: int = 0

    def matches(self, method: str, path: str) -> bool:
        """Whether it concerns this request; counts it then."""
        if method not in self.methods or not re.search(self.path, path) or self.times is not None and self.hits >= self.times:
            return False
        self.hits += 1
        return True


class FaultyS3:
    """A port that leads to an S3 server, and what goes wrong on the way.

        with FaultyS3(moto) as s3:
            cluster = new_cluster(config={"elacsym.storage_url": f"s3://{bucket}/x", **s3.settings}, env=moto.env)
            with s3.failing(Fault("status", 503, code="SlowDown")): …
            with s3.down(): …

    `seen` has (method, path) of every request that came through, failed ones included.
    """

    def __init__(self, server: Moto):
        self.server, self.port = server, free_port()
        self.faults: list[Fault] = []
        self.seen: list[tuple[str, str]] = []
        self._lock = threading.Lock()
        self._connections: set[socket.socket] = set()
        self._listener: socket.socket | None = None

    @property
    def settings(self) -> dict:
        """PostgreSQL settings that point elacsym here."""
        return {**self.server.settings, "elacsym.s3_endpoint": f"http://127.0.0.1:{self.port}"}

    def __enter__(self) -> "FaultyS3":
        self._open()
        return self

    def __exit__(self, *_):
        self._close()

    # -- faults -------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def failing(self, *faults: Fault):
        """These faults, for the requests that come inside the block."""
        self.faults += faults
        try:
            yield self
        finally:
            for fault in faults:
                self.faults.remove(fault)

    @contextlib.contextmanager
    def down(self):
        """Nobody listens, and every connection ends."""
        self._close()
        try:
            yield self
        finally:
            self._open()

    def count(self, method: str, path: str = "") -> int:
        """Requests of this method whose path matches."""
        with self._lock:
            return sum(1 for m, p in self.seen if m == method and re.search(path, p))

    # -- the proxy ----------------------------------------------------------------------------------------------------

    def _open(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=128)
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def _close(self) -> None:
        # `shutdown` wakes the threads that wait in `accept` and `recv`, `close` alone does not
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            connections, self._connections = self._connections, set()
        for each in connections:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client = listener.accept()[0]
                with self._lock:
                    self._connections.add(client)
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError), client:
            stream = client.makefile("rb")
            while line := stream.readline():
                method, path, _ = line.decode("latin-1").split(" ", 2)
                headers = http.client.parse_headers(stream)
                body = stream.read(int(headers.get("Content-Length") or 0))
                if "chunked" in (headers.get("Transfer-Encoding") or ""):
                    body = _chunks(stream)
                with self._lock:
                    self.seen.append((method, path))
                    fault = next((f for f in self.faults if f.matches(method, path)), None)
                if not self._answer(client.sendall, method, path, headers, body, fault):
                    break
        with self._lock:
            self._connections.discard(client)

    def _answer(self, send: Callable, method: str, path: str, headers, body: bytes, fault: Fault | None) -> bool:
        """Answers one request; False ends the connection."""
        what = fault.what if fault else ""
        if what == "silent":  # neither answers nor hangs up
            time.sleep(3600)
        if what == "slow":
            time.sleep(fault.value)
        if what == "status":
            text = ERROR.format(code=fault.code).encode() if method != "HEAD" else b""
            send(_head(int(fault.value), "Injected", [("Content-Type", "application/xml")], len(text)) + text)
            return True
        onward = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)
        try:
            onward.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in headers.items():
                if name.lower() not in HOP_BY_HOP | {"content-length", "expect"}:
                    onward.putheader(name, value)
            if body or method in ("PUT", "POST"):
                onward.putheader("Content-Length", str(len(body)))
            onward.endheaders(body or None)
            answer = onward.getresponse()
            got = answer.read()
        finally:
            onward.close()
        if what == "lost":  # done, and nobody hears of it
            return False
        kept = [(n, v) for n, v in answer.getheaders() if n.lower() not in HOP_BY_HOP | {"content-length"}]
        length = int(answer.getheader("Content-Length") or 0) if method == "HEAD" else len(got)
        if what == "corrupt" and method == "GET" and got and answer.status < 300:
            middle = len(got) // 2
            got = got[:middle] + bytes([got[middle] ^ 0x40]) + got[middle + 1 :]
        if what == "partial":
            send(_head(answer.status, answer.reason, kept, length) + got[: len(got) // 2])
            return False
        send(_head(answer.status, answer.reason, kept, length) + got)
        return True


def _head(status: int, reason: str, headers: list, length: int) -> bytes:
    lines = [f"HTTP/1.1 {status} {reason}", *(f"{n}: {v}" for n, v in headers)]
    if status not in (204, 304):
        lines.append(f"Content-Length: {length}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _chunks(stream) -> bytes:
    body = b""
    while size := int(stream.readline().split(b";")[0], 16):
        body += stream.read(size)
        stream.readline()
    stream.readline()
    return body
