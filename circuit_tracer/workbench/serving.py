"""Serve the pages of many graphs to the browser of this machine, and to nobody else.

Bound to the loopback interface; read-only; a request is answered only if its path is, byte for
byte, that of a page in the index, so there is no path to climb out by. Requests that name another
host (a page elsewhere that has its name pointed here) are refused.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock

from circuit_tracer.errors import CircuitTracerError, OutputError, reason
from circuit_tracer.render.html import error_page
from circuit_tracer.workbench.index_pages import Pages

HOST = "127.0.0.1"
POLICY = "frame-ancestors 'none'"
"""What a page's own policy cannot say; the rest stands in the page."""


class Server(ThreadingHTTPServer):
    """The pages, each made when it is asked for first and not kept."""

    daemon_threads = True

    def __init__(self, pages: Pages, port: int) -> None:
        super().__init__((HOST, port), _Handler)
        self.pages = pages
        self.making = Lock()
        """One page at a time: making one takes all the memory of its graph."""

    @property
    def address(self) -> str:
        """What to open."""
        return f"http://{HOST}:{self.server_port}/"

    def answer(self, path: str) -> tuple[HTTPStatus, str]:
        """The page at a path as it was sent."""
        path = path.partition("?")[0]
        if path in ("/", "/index.html"):
            return HTTPStatus.OK, self.pages.index
        make = self.pages.graphs.get(path.removeprefix("/"))
        if make is None or not path.startswith("/"):
            return HTTPStatus.NOT_FOUND, error_page("There is no such page here.")
        try:
            with self.making:
                return HTTPStatus.OK, make()
        except CircuitTracerError as error:
            message = str(error)
        except OSError as error:
            message = reason(error)
        except Exception as error:  # the browser gets an answer, whatever it is
            message = f"Something unforeseen happened ({type(error).__name__}: {reason(error)})."
        return HTTPStatus.INTERNAL_SERVER_ERROR, error_page(message)

    def handle_error(self, request: object, client_address: object) -> None:
        """A browser that left before it had the whole page, which is nobody's fault here."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class _Handler(BaseHTTPRequestHandler):
    """GET and HEAD; every other method is refused by the base class."""

    server: Server
    server_version = "circuit-tracer"
    sys_version = ""
    timeout = 30

    def do_GET(self) -> None:
        self._send(with_body=True)

    def do_HEAD(self) -> None:
        self._send(with_body=False)

    def _send(self, *, with_body: bool) -> None:
        hosts = {f"{name}:{self.server.server_port}" for name in (HOST, "localhost")}
        if self.headers.get("Host") in hosts:
            status, text = self.server.answer(self.path)
        else:
            status, text = HTTPStatus.FORBIDDEN, error_page("This page is for this machine alone.")
        content = text.encode("utf-8")
        self.send_response(status)
        for name, value in (
            ("Content-Type", "text/html; charset=utf-8"),
            ("Content-Length", str(len(content))),
            ("Content-Security-Policy", POLICY),
            ("X-Content-Type-Options", "nosniff"),
            ("Referrer-Policy", "no-referrer"),
            ("Cross-Origin-Resource-Policy", "same-origin"),
            ("Cache-Control", "no-store"),
        ):
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: stdout is for results, stderr for the person at the terminal."""


@contextmanager
def serving(pages: Pages, port: int = 0) -> Iterator[Server]:
    """A server that listens; port 0 takes a free one. Raises OutputError for one that is taken."""
    try:
        server = Server(pages, port)
    except (OSError, OverflowError) as error:
        raise OutputError(
            f"port {port} of this machine cannot be listened on ({reason(error)}); choose "
            "another `port`, or leave it out"
        ) from error
    with server:
        yield server
