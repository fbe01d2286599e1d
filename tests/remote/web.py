"""A web server on loopback: Python's own, which knows no ranges, and one that gives them.

``hooks`` are called with each request of a path before it is answered; one that returns True has
answered it.
"""

from __future__ import annotations

import contextlib
import http.server
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

Hook = Callable[["Plain"], bool | None]


class Plain(http.server.SimpleHTTPRequestHandler):
    """Python's own."""

    protocol_version = "HTTP/1.1"
    site: Web

    def do_GET(self) -> None:
        self.site.asked.append((self.path, self.headers.get("Range", "")))
        hook = self.site.hooks.get(self.path)
        if hook is None or not hook(self):
            with contextlib.suppress(ConnectionError):
                self.answer()

    def answer(self) -> None:
        super().do_GET()

    def redirect(self, location: str) -> bool:
        self.send_response(302)
        self.send_header("Location", location)
        self.send_header("Content-Length", "0")
        self.end_headers()
        return True

    def refuse(self, status: int) -> bool:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()
        return True

    def log_message(self, *_: object) -> None:
        pass


class Ranged(Plain):
    """… with ranges, ETags and If-Match."""

    def answer(self) -> None:
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            self.refuse(404)
            return
        found, data = path.stat(), path.read_bytes()
        etag = f'"{found.st_mtime_ns:x}-{found.st_size:x}"'
        if self.headers.get("If-Match", etag) != etag:
            self.refuse(412)
            return
        match = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers["Range"])
        assert match, "imgprep asks for one range"
        first, last = int(match[1]), min(int(match[2]), len(data) - 1)
        self.send_response(206 if data else 416)
        told = f"bytes {first}-{last}/{len(data)}" if data else "bytes */0"
        body = data[first : last + 1]
        for name, value in (
            ("Content-Range", told),
            ("Content-Length", str(len(body))),
            ("ETag", etag),
            ("Last-Modified", self.date_time_string(found.st_mtime)),
        ):
            self.send_header(name, value)
        self.end_headers()
        self.site.sent += len(body)
        self.wfile.write(body)


class Web:
    """What it serves, was asked for, and sent."""

    def __init__(self, folder: Path, handler: type[Plain]) -> None:
        self.folder = folder
        self.hooks: dict[str, Hook] = {}
        self.asked: list[tuple[str, str]] = []
        self.sent = 0
        kind = type("Handler", (handler,), {"site": self})
        self._server = http.server.ThreadingHTTPServer(
            ("127.0.0.1", 0), lambda *words: kind(*words, directory=str(folder))
        )
        self._server.daemon_threads = True

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/{name}"

    @contextlib.contextmanager
    def running(self) -> Iterator[Web]:
        thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            thread.join()
            self._server.server_close()
