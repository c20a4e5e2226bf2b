"""The web server behind a preview: six addresses, no file of the machine, and answers to its own name only."""

from __future__ import annotations

import ipaddress
import json
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from postfilter.errors import InputError
from postfilter.video.pages.assets import page_asset

if TYPE_CHECKING:
    from postfilter.video.preview.pairs import Pairs

__all__ = ["Server"]

StateAfter = Callable[[int, float], "tuple[int, dict[str, Any]]"]

_CONNECTIONS = 32
"""At once; more are closed unanswered. A page holds three."""
_PAIR_SECONDS = 10.0
"""A request for a picture waits as long for one."""
_STATE_SECONDS = 0.2
"""Between two messages about the state."""
_HEARTBEAT_SECONDS = 5.0
_LONGEST_NUMBER = 18
"""Digits of a picture's number."""
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Server:
    """Serves one page, its figures and its pictures, each viewer in a thread.

    Args:
        host: the address to listen at.
        port: 0 takes a free one.
        pairs: where the pictures come from.
        state_after: returns version and figures, see `Preview`.

    Raises:
        InputError: the port is taken or may not be used, or the host is none of this machine.
    """

    def __init__(self, host: str, port: int, *, pairs: Pairs, state_after: StateAfter) -> None:
        self._http = _listen(host, port)
        self._http.loopback = _is_loopback(self._http.server_address[0])
        self._http.names = {"localhost", host.lower()}
        self._http.pairs, self._http.state_after = pairs, state_after
        self._http.assets = _assets()
        self._host = host
        self._thread = threading.Thread(
            target=self._http.serve_forever, args=(0.03,), name="postfilter-preview", daemon=True
        )

    @property
    def url(self) -> str:
        """The page's address."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._http.server_address[1]}/"

    def start(self) -> None:
        """Answer from now on."""
        self._thread.start()

    def stop(self, *, patience_seconds: float) -> None:
        """Wait a little for the pages to hear the last state, then answer no more."""
        deadline = time.monotonic() + patience_seconds
        while self._http.listeners and time.monotonic() < deadline:
            time.sleep(0.02)
        if self._thread.ident is not None:
            self._http.shutdown()
            self._thread.join()
        self._http.server_close()


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = _CONNECTIONS
    # Nobody may listen at the port as well; on Windows reusing an address would allow that.
    allow_reuse_address = sys.platform != "win32"
    allow_reuse_port = False

    loopback: bool
    names: set[str]
    pairs: Pairs
    state_after: StateAfter
    assets: dict[str, tuple[str, bytes]]

    def __init__(self, address: tuple[str, int]) -> None:
        self.listeners = 0
        """Pages that hear the state."""
        self.lock = threading.Lock()
        self._room = threading.BoundedSemaphore(_CONNECTIONS)
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._room.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A viewer that goes away in the middle of an answer is no error."""


class _Http6(_Http):
    address_family = socket.AF_INET6


class _Handler(BaseHTTPRequestHandler):
    server: _Http
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "postfilter", ""
    timeout = 60.0
    # Head and body of an answer leave together, at once.
    wbufsize = -1
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        """Answer one request."""
        if not self._names_us(self.headers.get("Host", "")):
            # A page of another site whose name was pointed at this address (DNS rebinding) ends here.
            self._answer("text/plain", b"This preview answers to its own name only.", HTTPStatus.MISDIRECTED_REQUEST)
            return
        address = urlsplit(self.path)
        if address.path != "/" and self.headers.get("Sec-Fetch-Site", "none") not in ("same-origin", "none"):
            # It could read nothing, but it could have pictures made and hold connections.
            self._answer("text/plain", b"Only the preview's own page may ask for this.", HTTPStatus.FORBIDDEN)
        elif address.path in self.server.assets:
            self._answer(*self.server.assets[address.path])
        elif address.path == "/state":
            self._stream_state()
        elif address.path == "/pair":
            self._send_pair(parse_qs(address.query).get("after", ["0"])[0])
        else:
            self._answer("text/plain", b"There is nothing here.", HTTPStatus.NOT_FOUND)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # as it is declared
        """Standard error belongs to the command."""

    def _names_us(self, host: str) -> bool:
        """Whether a Host header names this server: by its name, or by an address, which no DNS can point elsewhere."""
        with suppress(ValueError):
            name = (urlsplit(f"//{host}").hostname or "").lower()
            if name in self.server.names:
                return True
            return _is_loopback(name) if self.server.loopback else bool(ipaddress.ip_address(name))
        return False

    def _answer(
        self, kind: str, body: bytes, status: HTTPStatus = HTTPStatus.OK, headers: dict[str, str] | None = None
    ) -> None:
        self.send_response(status)
        # RFC 9110, 8.6: an answer of 204 tells no length.
        lengths = {"Content-Type": kind, "Content-Length": str(len(body))} if status != HTTPStatus.NO_CONTENT else {}
        for name, value in (_HEADERS | lengths | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _send_pair(self, after: str) -> None:
        if not after.isdecimal() or len(after) > _LONGEST_NUMBER:
            self._answer("text/plain", b"after is a number.", HTTPStatus.BAD_REQUEST)
            return
        pair = self.server.pairs.after(int(after), timeout_seconds=_PAIR_SECONDS)
        if pair is None:
            self._answer("text/plain", b"", HTTPStatus.NO_CONTENT)
            return
        facts = asdict(pair)
        body = facts.pop("data")
        self._answer("image/jpeg", body, headers={"X-Pair": json.dumps(facts)})

    def _stream_state(self) -> None:
        """Send the figures whenever they have changed, until the work ends (Server-Sent Events)."""
        self.close_connection = True
        self.send_response(HTTPStatus.OK)
        for name, value in (_HEADERS | {"Content-Type": "text/event-stream"}).items():
            self.send_header(name, value)
        self.end_headers()
        with self.server.lock:
            self.server.listeners += 1
        try:
            version, ended = -1, None
            while ended is None:
                before = version
                version, figures = self.server.state_after(version, _HEARTBEAT_SECONDS)
                ended = figures["ended"]
                message = ": nothing new" if version == before else f"data: {json.dumps(figures)}"
                self.wfile.write(f"{message}\n\n".encode())
                self.wfile.flush()
                time.sleep(0 if ended else _STATE_SECONDS)
        except OSError:
            return  # the page was closed
        finally:
            with self.server.lock:
                self.server.listeners -= 1


def _listen(host: str, port: int) -> _Http:
    try:
        return (_Http6 if ":" in host else _Http)((host, port))
    except (OSError, OverflowError) as error:
        raise InputError(
            f"the preview cannot listen at {host} port {port} ({error}); give another port, or --preview alone for a "
            "free one"
        ) from error


def _is_loopback(host: Any) -> bool:
    with suppress(ValueError):
        return ipaddress.ip_address(str(host)).is_loopback
    return False


def _assets() -> dict[str, tuple[str, bytes]]:
    def own(name: str) -> str:
        return page_asset(name, package="postfilter.video.preview")

    return {
        "/": ("text/html; charset=utf-8", own("preview.html").encode()),
        "/page.css": ("text/css; charset=utf-8", (page_asset("page.css") + own("preview.css")).encode()),
        "/slider.js": ("text/javascript; charset=utf-8", page_asset("slider.js").encode()),
        "/preview.js": ("text/javascript; charset=utf-8", own("preview.js").encode()),
    }
