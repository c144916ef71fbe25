# Copyright 2026 depthrefl_ros contributors
# SPDX-License-Identifier: Apache-2.0
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.

"""The web server of the live page: one page, its scripts, and a WebSocket for each viewer.

Two kinds of strangers are kept out although they come from a browser on this machine: a page
whose name was made to resolve to this machine (DNS rebinding) by the name that it asks for, and
another site's script by its Origin.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import socket
from collections.abc import Awaitable
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

import tornado
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, HTTPError, RequestHandler
from tornado.websocket import WebSocketClosedError, WebSocketHandler, websocket_connect

from depthrefl_ros.tools.command_line import ToolError
from depthrefl_ros.tools.live_hub import Hub

LOOPBACK = "127.0.0.1"
FOLDER = Path(__file__).parent
PAGES = {
    "/": ("live_page.html", "text/html"),
    "/live_page.js": ("live_page.js", "text/javascript"),
    "/live_settings.js": ("live_settings.js", "text/javascript"),
}
MAX_ASKED_BYTES = 4096  # of a message from a browser
PING_S = 10.0
FOXGLOVE = "foxglove.dev"
FOXGLOVE_PATH = "/foxglove"
FOXGLOVE_PROTOCOL = "foxglove.sdk.v1"
MAX_TUNNEL_BYTES = 64 << 20  # a cloud of 640x480 points has 5 MB
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Server": "depthrefl",
}


def may_ask(host: str, names: frozenset[str]) -> bool:
    """Tell whether a Host header names this machine as a person would.

    Ports do not count: an ssh tunnel ends at any. A number does for a name, since no page can make
    its own address resolve to another.

    Args:
        host: the header.
        names: by which this machine may be asked for, lower case; empty allows loopback only.
    """
    parts = _parts(f"//{host}")
    name = "" if parts is None else (parts.hostname or "").rstrip(".")
    if is_loopback(name):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name in names
    return bool(names)


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine and nobody else: ``localhost``, 127.0.0.0/8 or ::1."""
    try:
        return host.lower() == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name
        return False


def _parts(address: str) -> SplitResult | None:
    """Return the parts of an address that a stranger has sent; None where it is malformed."""
    try:
        return urlsplit(address)
    except ValueError:
        return None


def machine_names(host: str) -> frozenset[str]:
    """Return the names by which this machine may be asked for when bound to ``host``."""
    if is_loopback(host):
        return frozenset()
    own = socket.gethostname().lower()
    return frozenset({host.lower(), own, f"{own}.local", socket.getfqdn().lower()}) - {""}


class _Guarded(RequestHandler):
    """Answers only those who ask for this machine by a name of its own."""

    def set_default_headers(self) -> None:
        for name, value in _HEADERS.items():
            self.set_header(name, value)

    def check_host(self) -> None:
        """Refuse a foreign Host, and an Origin that is no address, which Tornado cannot read.

        Raises:
            HTTPError: 403.
        """
        if not may_ask(self.request.host, self.application.settings["names"]):
            raise HTTPError(403, "foreign host %r", self.request.host)
        for name in ("Origin", "Sec-Websocket-Origin"):
            if _parts(self.request.headers.get(name, "")) is None:
                raise HTTPError(403, "malformed origin")

    def write_error(self, status_code: int, **_: Any) -> None:
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(f"{status_code} {self._reason}\n")

    def log_exception(self, kind: Any, error: Any, trace: Any) -> None:
        if not isinstance(error, HTTPError):
            super().log_exception(kind, error, trace)


class Page(_Guarded):
    """The page and its scripts."""

    def initialize(self, file: str, kind: str) -> None:
        """Take the file's name and its MIME type."""
        self._file, self._kind = file, kind

    def get(self) -> None:
        """Answer with the file."""
        self.check_host()
        self.set_header("Content-Type", f"{self._kind}; charset=utf-8")
        self.write((FOLDER / self._file).read_bytes())

    def head(self) -> None:
        """Answer with the headers alone."""
        self.get()


class Viewer(_Guarded, WebSocketHandler):
    """One open page.

    Attributes:
        is_ready: whether it has drawn what it got.
        seen: number of the last frame that it got.
    """

    def initialize(self, hub: Hub) -> None:
        """Take the hub that it will join."""
        self._hub = hub
        self.is_ready, self.seen = True, 0

    def check_origin(self, origin: str) -> bool:
        """Tell whether a browser's page may connect: only one that came from here."""
        parts = _parts(origin)
        return parts is not None and parts.netloc.lower() == self.request.host.lower()

    async def get(self, *arguments: Any, **named: Any) -> None:
        """Open the connection.

        Raises:
            HTTPError: 403 for a foreign host, 503 where there is no room.
        """
        self.check_host()
        if self._hub.is_full:
            raise HTTPError(503, "too many viewers")
        await super().get(*arguments, **named)

    def open(self) -> None:
        """Join the others."""
        self.set_nodelay(True)
        self._hub.join(self)

    def on_message(self, message: str | bytes) -> None:
        """Hand on what the page asks for."""
        try:
            asked = json.loads(message)
        except (ValueError, RecursionError):
            asked = None
        if not isinstance(asked, dict):
            self.close(1003, "JSON objects are understood")
            return
        self._hub.hear(self, asked)

    def on_close(self) -> None:
        """Leave the others, whatever ended the connection."""
        self._hub.leave(self)

    def tell(self, news: dict[str, Any]) -> None:
        """Send news."""
        self.send(json.dumps(news, allow_nan=False))

    def send(self, data: bytes | str) -> None:
        """Send a message; a connection that is going away costs nothing."""
        try:
            sent = self.write_message(data, binary=isinstance(data, bytes))
        except WebSocketClosedError:
            return
        asyncio.ensure_future(_unless_closed(sent))


async def _unless_closed(sent: Awaitable[None]) -> None:
    try:
        await sent
    except (WebSocketClosedError, tornado.iostream.StreamClosedError):
        pass


class Tunnel(_Guarded, WebSocketHandler):
    """A Foxglove app's connection, handed on to the server of Foxglove's own library.

    That server asks nobody where he comes from, so it stands behind this one.
    """

    def initialize(self, url: str) -> None:
        """Take the address of the server behind."""
        self._url, self._behind = url, None

    def check_origin(self, origin: str) -> bool:
        """Tell whether an app may connect: Foxglove's, in the browser or as a program."""
        parts = _parts(origin)
        if parts is None:
            return False
        is_foxglove = parts.hostname is not None and (
            parts.hostname == FOXGLOVE or parts.hostname.endswith(f".{FOXGLOVE}")
        )
        return parts.scheme == "file" or (parts.scheme == "https" and is_foxglove)

    def select_subprotocol(self, subprotocols: list[str]) -> str | None:
        """Return the protocol to speak, if the app speaks it."""
        return FOXGLOVE_PROTOCOL if FOXGLOVE_PROTOCOL in subprotocols else None

    async def get(self, *arguments: Any, **named: Any) -> None:
        """Open the connection.

        Raises:
            HTTPError: 403 for a foreign host.
        """
        self.check_host()
        await super().get(*arguments, **named)

    async def open(self) -> None:
        """Connect to the server behind, and hand on what it says."""
        self.set_nodelay(True)
        self._behind = await websocket_connect(
            self._url, subprotocols=[FOXGLOVE_PROTOCOL], max_message_size=MAX_TUNNEL_BYTES
        )
        asyncio.ensure_future(self._hand_on(self._behind))

    async def on_message(self, message: str | bytes) -> None:
        """Hand on what the app says."""
        if self._behind is not None:
            await self._behind.write_message(message, binary=isinstance(message, bytes))

    def on_close(self) -> None:
        """Leave the server behind as well."""
        if self._behind is not None:
            self._behind.close()

    async def _hand_on(self, behind: Any) -> None:
        """Hand messages on as fast as the app takes them; the server drops the oldest meanwhile."""
        try:
            while (message := await behind.read_message()) is not None:
                await self.write_message(message, binary=isinstance(message, bytes))
        except (WebSocketClosedError, tornado.iostream.StreamClosedError):
            behind.close()
        self.close()


def serve(hub: Hub, host: str, port: int, foxglove: str = "") -> tuple[HTTPServer, int]:
    """Begin to serve in the running event loop.

    Args:
        hub: of the viewers.
        host: address to listen at.
        port: to listen at; 0 takes a free one.
        foxglove: address of the Foxglove server behind; empty for none.

    Returns:
        The server and its port.

    Raises:
        ToolError: the address cannot be had.
    """
    pages = [(path, Page, {"file": file, "kind": kind}) for path, (file, kind) in PAGES.items()]
    tunnel = [(FOXGLOVE_PATH, Tunnel, {"url": foxglove})] if foxglove else []
    application = Application(
        [*pages, ("/live", Viewer, {"hub": hub}), *tunnel],
        names=machine_names(host),
        websocket_ping_interval=PING_S,
        websocket_max_message_size=MAX_ASKED_BYTES,
        log_function=lambda handler: None,
        default_handler_class=_Missing,
    )
    try:
        sockets = bind_sockets(port, host)
    except OSError as error:
        raise ToolError(
            f"{host}:{port}: {error.strerror or error}; choose another --port, or another --host"
        ) from error
    server = HTTPServer(application)
    server.add_sockets(sockets)
    return server, sockets[0].getsockname()[1]


class _Missing(_Guarded):
    """Whatever else is asked for."""

    def prepare(self) -> None:
        self.check_host()
        raise HTTPError(404)
