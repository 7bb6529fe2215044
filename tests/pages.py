"""A web server of this machine that gives pages by their paths."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@contextlib.contextmanager
def pages(bodies: Mapping[str, tuple[str, str]]) -> Iterator[str]:
    """Its address. `bodies`: media type and body by the path, whatever the query."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *arguments: Any) -> None:
            """Says nothing."""

        def do_GET(self) -> None:
            found = bodies.get(self.path.partition("?")[0])
            self.send_response(404 if found is None else 200)
            media_type, body = found or ("text/plain", "")
            self.send_header("content-type", media_type)
            self.end_headers()
            self.wfile.write(body.encode())

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
