"""A proxy that does harm: between a client and a real HTTP server, on a free loopback port."""

from __future__ import annotations

import itertools
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from enum import StrEnum
from io import BytesIO
from socketserver import StreamRequestHandler, ThreadingTCPServer
from urllib.parse import urlsplit

_STALL_S = 30.0
_SLOW_BYTES_PER_S, _SLOW_CHUNK, _BREAK_BYTES = 200_000, 10_000, 300_000
_ERROR = "<?xml version='1.0'?><Error><Code>{code}</Code><Message>{code}, says the proxy</Message></Error>"


class Fault(StrEnum):
    """What can happen to a request."""

    SLOW_DOWN = "503"
    """The proxy answers 503 SlowDown in the server's place."""
    INTERNAL_ERROR = "500"
    """The proxy answers 500 InternalError in the server's place."""
    RESET = "reset"
    """The connection is reset; the server hears nothing of the request."""
    LOST = "lost"
    """The server does what it is asked; its answer is lost to a reset."""
    CUT = "cut"
    """The connection is closed in the middle of the server's answer."""
    STALL = "stall"
    """Half a minute passes before the server hears of the request."""
    THROTTLE = "throttle"
    """Request and answer pass at 200 kB/s."""
    BREAK = "break"
    """As throttled, and the connection breaks that is open when 300 kB have passed; again after the next 300 kB."""


class FaultyProxy:
    """Passes requests on to `upstream`, but for those that are struck by a fault. A context manager."""

    def __init__(self, upstream: str) -> None:
        parts = urlsplit(upstream)
        self.upstream = (str(parts.hostname), int(parts.port or 80))
        self.struck: Counter[Fault] = Counter()
        """Requests that were harmed, by what."""
        self.asked: list[str] = []
        """The first line of every request."""
        self.heal()
        self._passed = itertools.count(1)
        self._lock, self._over = threading.Lock(), threading.Event()
        self._port = 0
        self._listen()

    @property
    def endpoint(self) -> str:
        """What clients connect to; it stays the same when the proxy was down."""
        return f"http://127.0.0.1:{self._port}"

    def heal(self) -> None:
        """Harm no request from now on."""
        self._fault_of: Callable[[bytes], Fault | None] = lambda _: None

    def strike(self, *faults: Fault, seconds: float, after: int = 0) -> None:
        """Harm every request for some seconds, from the one that follows the next `after` requests; again for each."""
        turns = _turns(faults, seconds, after)
        self._fault_of = lambda _: next(turns)

    def strike_first(self, *faults: Fault) -> None:
        """Harm every request the first time it is made, by these faults in turn, and let its repetitions pass."""
        seen: set[bytes] = set()
        turns = itertools.cycle(faults)

        def fault_of(line: bytes) -> Fault | None:
            if line in seen:
                return None
            seen.add(line)
            return next(turns)

        self._fault_of = fault_of

    def strike_where(self, text: str, fault: Fault) -> None:
        """Harm every request whose first line has this text."""
        self._fault_of = lambda line: fault if text.encode() in line else None

    def fault_of(self, line: bytes) -> Fault | None:
        """What happens to the request that begins with `line`."""
        with self._lock:
            self.asked.append(line.decode().strip())
            fault = self._fault_of(line)
            if fault is not None:
                self.struck[fault] += 1
            return fault

    def wear(self) -> None:
        """Raise ConnectionError when enough has passed on a line that breaks."""
        if next(self._passed) % (_BREAK_BYTES // _SLOW_CHUNK) == 0:
            raise ConnectionAbortedError

    def stall(self) -> None:
        """Wait as a stalled request does."""
        self._over.wait(_STALL_S)

    @contextmanager
    def down(self) -> Iterator[None]:
        """Refuse every connection."""
        self._close()
        yield
        self._listen()

    def __enter__(self) -> FaultyProxy:
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._close()

    def _listen(self) -> None:
        self._server = _Server(("127.0.0.1", self._port), self)
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def _close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _turns(faults: Sequence[Fault], seconds: float, after: int) -> Iterator[Fault | None]:
    """What happens to one request after another."""
    for fault in faults:
        yield from itertools.repeat(None, after)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            yield fault
    yield from itertools.repeat(None)


class _Server(ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], proxy: FaultyProxy) -> None:
        self.proxy = proxy
        super().__init__(address, _Handler)


class _Handler(StreamRequestHandler):
    """One request per connection, so that every one of them can be harmed."""

    server: _Server

    def handle(self) -> None:
        with suppress(ConnectionError, TimeoutError):  # a client that lost its patience
            if line := self.rfile.readline():
                self._serve(line, self.server.proxy.fault_of(line))

    def _serve(self, line: bytes, fault: Fault | None) -> None:
        if fault is Fault.RESET:
            return self._reset()
        request = self._request(line, fault)
        if fault in (Fault.SLOW_DOWN, Fault.INTERNAL_ERROR):
            return self._refuse(line, fault)
        if fault is Fault.STALL:
            self.server.proxy.stall()
        answer = self._ask(request)
        if fault is Fault.LOST:
            return self._reset()
        self._answer(answer[: len(answer) // 2] if fault is Fault.CUT else answer, fault)

    def _request(self, line: bytes, fault: Fault | None) -> bytes:
        """The request as it came (the signature covers the Host), but the server is to close after it."""
        headers = [*iter(self.rfile.readline, b"\r\n")]
        fields = {_name(header): header.partition(b":")[2].strip() for header in headers}
        assert b"transfer-encoding" not in fields, "this proxy knows requests of known length only"
        if b"expect" in fields:
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = b"".join(self._paced(self.rfile.read, int(fields.get(b"content-length", 0)), fault))
        kept = [header for header in headers if _name(header) not in (b"connection", b"expect")]
        return b"".join([line, *kept, b"Connection: close\r\n\r\n", body])

    def _answer(self, answer: bytes, fault: Fault | None) -> None:
        data = BytesIO(answer)
        for chunk in self._paced(data.read, len(answer), fault):
            self.wfile.write(chunk)

    def _paced(self, read: Callable[[int], bytes], size: int, fault: Fault | None) -> Iterator[bytes]:
        if fault not in (Fault.THROTTLE, Fault.BREAK):
            yield read(size)
            return
        for start in range(0, size, _SLOW_CHUNK):
            yield read(min(_SLOW_CHUNK, size - start))
            time.sleep(_SLOW_CHUNK / _SLOW_BYTES_PER_S)
            if fault is Fault.BREAK:
                self.server.proxy.wear()

    def _ask(self, request: bytes) -> bytes:
        with socket.create_connection(self.server.proxy.upstream) as server:
            server.sendall(request)
            return b"".join(iter(lambda: server.recv(1 << 16), b""))

    def _refuse(self, line: bytes, fault: Fault) -> None:
        code = "SlowDown" if fault is Fault.SLOW_DOWN else "InternalError"
        body = b"" if line.startswith(b"HEAD") else _ERROR.format(code=code).encode()
        head = f"HTTP/1.1 {fault} {code}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        self.wfile.write(head.encode() + body)

    def _reset(self) -> None:
        self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        socket.close(self.request.detach())  # without lingering: a reset, not an orderly end


def _name(header: bytes) -> bytes:
    return header.partition(b":")[0].strip().lower()
