# SPDX-License-Identifier: GPL-3.0-or-later
"""A TCP relay that counts bytes and disturbs them as a test says."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType

# Gets the number of bytes before a block, and the block. Returns what to pass on, or None to cut all connections.
Fault = Callable[[int, bytes], "bytes | None"]


def unharmed(_passed: int, block: bytes) -> bytes:
    return block


def flip(first: int, every: int = 1 << 62) -> Fault:
    """Alters the byte at ``first``, and every ``every``-th byte after it."""

    def fault(passed: int, block: bytes) -> bytes:
        altered = bytearray(block)
        at = first if first >= passed else first + -(-(passed - first) // every) * every
        while at < passed + len(block):
            altered[at - passed] ^= 1
            at += every
        return bytes(altered)

    return fault


def cut(after: int) -> Fault:
    """Lets ``after`` bytes pass, then cuts."""
    return lambda passed, block: block if passed + len(block) < after else None


class Relay:
    """Passes connections on to ``target``. ``fault`` gets the blocks to the server, or from it."""

    def __init__(self, target: tuple[str, int], fault: Fault = unharmed, *, upstream: bool = False) -> None:
        self.target, self.fault, self.upstream = target, fault, upstream
        self.passed = {True: 0, False: 0}
        self.lock = threading.Lock()
        self.open: list[socket.socket] = []
        self.listener = socket.create_server(("0.0.0.0", 0))
        self.port: int = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def bytes(self) -> int:
        """All bytes that were passed on, in both directions."""
        return sum(self.passed.values())

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _address = self.listener.accept()
                try:
                    server = socket.create_connection(self.target, timeout=10)
                except OSError:
                    client.close()
                    continue
                server.settimeout(None)
                self.open += [client, server]
                for pair in ((client, server, True), (server, client, False)):
                    threading.Thread(target=self._pass, args=pair, daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket, upstream: bool) -> None:
        with suppress(OSError):
            while block := source.recv(65536):
                with self.lock:
                    sent = self.fault(self.passed[upstream], block) if upstream == self.upstream else block
                    if sent is None:
                        self.close()
                        return
                    self.passed[upstream] += len(block)
                sink.sendall(sent)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Cut every connection and accept no new one."""
        with suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for end in self.open:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Relay:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
