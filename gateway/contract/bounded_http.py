"""Blocking HTTP that ends at a deadline, however slowly the other side sends: the library's own timeout is per read."""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import time
import urllib.request
from typing import Any


class BoundedSocket:
    """A connected socket for `http.client` whose reads and writes all end at one moment. Raises `TimeoutError`."""

    def __init__(self, sock: socket.socket, until: float) -> None:
        """`until` on the clock of `time.monotonic`."""
        self._sock = sock
        self._until = until
        self._readers = 0
        self._closed = False

    def _left_s(self) -> float:
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError("the deadline has passed")
        return left

    def sendall(self, data: Any) -> None:
        """See `socket.sendall`, whose timeout is for the whole of it."""
        self._sock.settimeout(self._left_s())
        self._sock.sendall(data)

    def makefile(self, mode: str) -> io.BufferedReader:
        """What is read from it; the socket stays open until this is closed too."""
        self._readers += 1
        return io.BufferedReader(_Reads(self))

    def receive(self, buffer: Any) -> int:
        """See `socket.recv_into`."""
        self._sock.settimeout(self._left_s())
        return self._sock.recv_into(buffer)

    def close(self) -> None:
        """Lets go of it: it closes with the last of those who read from it."""
        self._closed = True
        if not self._readers:
            self._sock.close()

    def leave(self) -> None:
        """One reader less."""
        self._readers -= 1
        if self._closed:
            self.close()


class _Reads(io.RawIOBase):
    """The readable side of a `BoundedSocket`."""

    def __init__(self, sock: BoundedSocket) -> None:
        self._sock = sock

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """See `io.RawIOBase.readinto`."""
        return self._sock.receive(buffer)

    def close(self) -> None:
        """The response has been read, or given up."""
        if not self.closed:
            super().close()
            self._sock.leave()


class _Plain(http.client.HTTPConnection):
    def connect(self) -> None:
        until = time.monotonic() + float(self.timeout or 0)
        super().connect()
        self.sock: Any = BoundedSocket(self.sock, until)


class _Secure(http.client.HTTPSConnection):
    def connect(self) -> None:
        until = time.monotonic() + float(self.timeout or 0)
        super().connect()
        self.sock: Any = BoundedSocket(self.sock, until)


class _OpensPlain(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_Plain, req)


class _OpensSecure(urllib.request.HTTPSHandler):
    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_Secure, req, context=ssl.create_default_context())


def bounded_opener(*handlers: urllib.request.BaseHandler) -> urllib.request.OpenerDirector:
    """An opener whose `timeout` is for each whole exchange, from the connection to the last byte."""
    return urllib.request.build_opener(_OpensPlain, _OpensSecure, *handlers)
