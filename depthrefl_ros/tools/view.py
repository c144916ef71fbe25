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

"""``view``: a running node on a web page: camera, depth, what Nav2 gets, figures, sliders."""

from __future__ import annotations

import argparse
import asyncio
import functools
import signal
import webbrowser
from collections.abc import Callable
from typing import TYPE_CHECKING

from depthrefl_ros.tools.command_line import make_parser, port_number, positive_float, run_tool
from depthrefl_ros.tools.live_frame import legend_colours, packed
from depthrefl_ros.tools.live_hub import Hub
from depthrefl_ros.tools.live_node import LiveNode, Moment
from depthrefl_ros.tools.live_parameters import live_controls
from depthrefl_ros.tools.live_server import FOXGLOVE_PATH, LOOPBACK, machine_names, serve
from depthrefl_ros.tools.occupancy import CELL_M
from depthrefl_ros.tools.ros_node import ros_namespace, tool_node
from depthrefl_ros.tools.top_down import AHEAD_M, ASIDE_M, BEHIND_M

if TYPE_CHECKING:
    from depthrefl_ros.tools.live_foxglove import FoxgloveRelay

PORT = 8642
RATE_HZ = 12.0
SHOWING = "view: open http://"


def main(argv: list[str] | None = None) -> int:
    """Run the command; see ``depthrefl view --help``."""
    return run_tool(_parser(), argv, _run)


def _parser() -> argparse.ArgumentParser:
    parser = make_parser(
        "depthrefl view",
        "Show a running node on a web page: the camera, its depth, what Nav2 gets from it, "
        "figures, and sliders for the parameters that can change at runtime. Only this machine "
        "can open it, unless --host says otherwise. Ctrl-C ends it.",
        """depthrefl view
        depthrefl view --node /front/depthrefl --port 8080 --open
        depthrefl view --host 0.0.0.0 --read-only""",
    )
    parser.add_argument(
        "--node", type=_full_name, metavar="NAME", help="node to show (default: the first found)"
    )
    parser.add_argument(
        "--host",
        default=LOOPBACK,
        help="address to listen at; 0.0.0.0 lets everybody on the network in (default %(default)s)",
    )
    parser.add_argument(
        "--port",
        type=port_number,
        default=PORT,
        help="port of the page; 0 picks a free one (default %(default)s)",
    )
    parser.add_argument(
        "--rate",
        type=positive_float,
        default=RATE_HZ,
        metavar="HZ",
        help="highest picture rate (default %(default)g)",
    )
    parser.add_argument("--read-only", action="store_true", help="show the parameters, set none")
    parser.add_argument(
        "--foxglove", action="store_true", help="let Foxglove connect as well, to /foxglove"
    )
    parser.add_argument("--open", action="store_true", help="open the page in a browser")
    return parser


def _full_name(text: str) -> str:
    return f"/{ros_namespace(text).strip('/')}"


def _run(args: argparse.Namespace, ros_args: list[str]) -> None:
    with tool_node("depthrefl_view", ros_args) as node:
        asyncio.run(_show(args, node))


async def _show(args: argparse.Namespace, node: object) -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop.set)
    teller = _Teller()

    def on_moment(moment: Moment) -> None:
        if hub.has_viewers:
            loop.call_soon_threadsafe(hub.take_frame, packed(moment.head, **moment.parts))
        if relay is not None:
            relay.take_moment(moment)

    def on_news(news: dict) -> None:
        loop.call_soon_threadsafe(hub.take_news, news)
        loop.call_soon_threadsafe(teller.take_news, news)
        if relay is not None:
            relay.take_news(news)

    def on_message(topic: str, message: object) -> None:
        if relay is not None:
            relay.take_message(topic, message)

    live = LiveNode(node, args.node or "", args.rate, on_moment, on_news, on_message)
    set_value = None if args.read_only else live.set_value
    hub = Hub(greeting(args.read_only), functools.partial(live.watch, "page"), set_value)
    relay = _relay(live, set_value) if args.foxglove else None
    server, port = serve(hub, args.host, args.port, relay.url if relay is not None else "")
    live.start()
    try:
        _tell_address(args, port)
        await stop.wait()
    finally:
        server.stop()
        if relay is not None:
            relay.close()
        hub.close()
        await asyncio.sleep(0.1)  # until the viewers have heard it
        await loop.run_in_executor(None, live.close)
    print("view: ended", flush=True)


def _relay(live: LiveNode, set_value: Callable | None) -> FoxgloveRelay:
    """Return Foxglove's server for a node, whose package not everybody has."""
    from depthrefl_ros.tools.live_foxglove import FoxgloveRelay

    return FoxgloveRelay(live, set_value)


def greeting(read_only: bool) -> dict:
    """Return what a page needs once: scales and controls."""
    return {
        "kind": "hello",
        "legend": legend_colours(),
        "above": {"ahead": AHEAD_M, "aside": ASIDE_M, "behind": BEHIND_M, "cell": CELL_M},
        "controls": [one.as_dict() for one in live_controls().values()],
        "readOnly": read_only,
    }


def _tell_address(args: argparse.Namespace, port: int) -> None:
    everywhere = args.host in ("0.0.0.0", "::", "")
    is_usual = args.host in (LOOPBACK, "::1")  # others of 127.0.0.0/8 have no name
    name = "localhost" if everywhere or is_usual else args.host
    address = f"http://{f'[{name}]' if ':' in name else name}:{port}/"
    print(f"{SHOWING}{address.removeprefix('http://')}", flush=True)
    if args.foxglove:
        print(f"view: Foxglove connects to ws://{name}:{port}{FOXGLOVE_PATH}", flush=True)
    if machine_names(args.host):
        may = "watch" if args.read_only else "watch and change parameters (--read-only forbids it)"
        print(f"view: everybody who can reach this machine may {may}", flush=True)
    if args.open:
        webbrowser.open(address)


class _Teller:
    """Says in the terminal which node is watched, when that changes."""

    def __init__(self) -> None:
        self._said = ""

    def take_news(self, news: dict) -> None:
        """Print a status's node, or that it is waited for, once."""
        if news["kind"] != "status":
            return
        said = news["waiting"] or f"watching {news['node']}"
        if said != self._said:
            self._said = said
            others = f" ({news['others']} more; --node NAME chooses)" if news["others"] > 0 else ""
            print(f"view: {said}{others}", flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
