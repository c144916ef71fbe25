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

"""Measures what pages of ``depthrefl view`` cost the node: none, one and two of them by turns.

Camera, node and view are the real executables; a subscriber of marking and clearing clouds stands
for Nav2, so that the node works in any case. A page is a WebSocket that takes each frame as a
browser does. What a phase costs is the CPU time of the node's process for each frame that it
processed: unlike latency, that hardly depends on what else the machine does.

    python benchmark/view_cost.py --json view_cost.json
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import PointCloud2
from tornado.websocket import websocket_connect

from depthrefl_ros.ros.middleware import share_path
from depthrefl_ros.tools.command_line import (
    ToolError,
    add_json_argument,
    make_parser,
    positive_float,
    positive_int,
    run_tool,
    write_json,
)
from depthrefl_ros.tools.processes import Child, Children
from depthrefl_ros.tools.ros_node import tool_node

PAGES = (0, 1, 2)
WITHIN_S = 60.0
SETTLE_S = 4.0  # the view goes on listening for a while after the last page
TICK_S = 1.0 / os.sysconf("SC_CLK_TCK")


@dataclass
class Counts:
    """What the node says of itself."""

    processed: int = 0


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; see ``--help``."""
    return run_tool(_parser(), argv, _run)


def _parser() -> argparse.ArgumentParser:
    parser = make_parser(
        "view_cost",
        "CPU time of the node for each frame with no page, one and two pages open.",
        "python benchmark/view_cost.py --rounds 5 --json view_cost.json",
    )
    parser.add_argument("--rounds", type=positive_int, default=3, help="default %(default)s")
    parser.add_argument(
        "--seconds", type=positive_float, default=8.0, help="per phase (default %(default)g)"
    )
    parser.add_argument("--model", default="indoor_tiny", help="default %(default)s")
    add_json_argument(parser, "the figures")
    return parser


def _run(args: argparse.Namespace, ros_args: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder, Children(Path(folder)) as children:
        os.environ.update(children.environment)
        module = "depthrefl_ros.tools"
        recording = str(share_path("test/data/corridor.mcap"))
        children.start("source", "-m", f"{module}.camera_source", recording, "--loop")
        arguments = ["--ros-args", "-r", "image:=/camera/image_raw"]
        arguments += ["-r", "camera_info:=/camera/camera_info", "-p", f"model:={args.model}"]
        arguments += ["-p", "camera_height:=0.5", "-p", "camera_pitch:=4.0"]
        node = children.start("node", "-m", "depthrefl_ros.ros.node", *arguments)
        view = children.start("view", "-m", f"{module}.view", "--port", "0")
        with tool_node("view_cost", ros_args) as listener:
            counts, stop = Counts(), threading.Event()
            thread = threading.Thread(target=_listen, args=(listener, counts, stop))
            thread.start()
            try:
                _wait(lambda: counts.processed > 20, children, "the node gave no depth")
                address = view.output().split("open http://")[1].split()[0]
                phases = {pages: [] for pages in PAGES}
                for _ in range(args.rounds):
                    for pages in PAGES:
                        phase = asyncio.run(
                            _phase(pages, address, args.seconds, counts, node, view)
                        )
                        phases[pages].append(phase)
                        print(f"{pages} pages: {_words(_summed([phase]))}", flush=True)
            finally:
                stop.set()
                thread.join()
    figures = {str(pages): _summed(found) for pages, found in phases.items()}
    for pages, found in figures.items():
        ratio = found["node_ms_per_frame"] / figures["0"]["node_ms_per_frame"]
        found["node_against_none"] = ratio
        print(f"all, {pages} pages: {_words(found)}; node {ratio:.3f} of that without a page")
    write_json(args.json, {"load": os.getloadavg(), "pages": figures, "phases": phases})


def _summed(phases: list[dict[str, float]]) -> dict[str, float]:
    """Return the sums of phases, and what follows from them."""
    total = {name: sum(one[name] for one in phases) for name in phases[0]}
    seconds, frames = total["seconds"], total["frames"]
    return {
        **total,
        "node_ms_per_frame": 1e3 * total["node_s"] / frames,
        "rate_hz": frames / seconds,
        "view_cores": total["view_s"] / seconds,
        "page_hz": total["shown"] / seconds,
    }


def _words(found: dict[str, float]) -> str:
    return (
        f"node {found['node_ms_per_frame']:.1f} ms CPU a frame at {found['rate_hz']:.1f} Hz, "
        f"view {100 * found['view_cores']:.0f} % of a core, {found['page_hz']:.1f} frames/s a page"
    )


def _listen(node: Node, counts: Counts, stop: threading.Event) -> None:
    """Take marking and clearing as Nav2 does, and what the node says of itself."""

    def take(message: DiagnosticArray) -> None:
        values = {item.key: item.value for item in message.status[0].values}
        counts.processed = int(values.get("processed", 0))

    def drop(message: PointCloud2) -> None:
        pass

    node.create_subscription(DiagnosticArray, "/diagnostics", take, 10)
    lossy = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
    for topic in ("points/marking", "points/clearing"):
        node.create_subscription(PointCloud2, topic, drop, lossy)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    while not stop.is_set():
        executor.spin_once(timeout_sec=0.2)
    executor.shutdown()


async def _phase(
    pages: int,
    address: str,
    seconds: float,
    counts: Counts,
    node: Child,
    view: Child,
) -> dict[str, float]:
    """Open pages, wait until all is settled, and measure."""
    shown = [0] * pages
    opened = [asyncio.ensure_future(_page(address, shown, index)) for index in range(pages)]
    await asyncio.sleep(SETTLE_S)
    children = (node, view)
    before, processed, begun = [_cpu_s(one) for one in children], counts.processed, sum(shown)
    start_s = time.monotonic()
    await asyncio.sleep(seconds)
    used = [_cpu_s(one) - first for one, first in zip(children, before, strict=True)]
    passed_s, frames = time.monotonic() - start_s, counts.processed - processed
    for one in opened:
        one.cancel()
    await asyncio.gather(*opened, return_exceptions=True)
    if not frames:
        raise ToolError(f"the node processed nothing in {seconds:g} s: {node.last_line()}")
    return {
        "seconds": passed_s,
        "frames": frames,
        "node_s": used[0],
        "view_s": used[1],
        "shown": (sum(shown) - begun) / max(pages, 1),
    }


async def _page(address: str, shown: list[int], index: int) -> None:
    """Take every frame as a page does: the next one when this one is drawn."""
    socket = await websocket_connect(f"ws://{address}live")
    try:
        while (message := await socket.read_message()) is not None:
            if isinstance(message, bytes):
                shown[index] += 1
                await socket.write_message(json.dumps({"kind": "ready"}))
    finally:
        socket.close()


def _cpu_s(child: Child) -> float:
    """Return a process's CPU time so far, user and system, seconds (proc(5), fields 14 and 15)."""
    fields = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK_S


def _wait(condition, children: Children, problem: str) -> None:
    end = time.monotonic() + WITHIN_S
    while not condition():
        children.check()
        if time.monotonic() > end:
            raise ToolError(f"{problem} within {WITHIN_S:g} s")
        time.sleep(0.1)


if __name__ == "__main__":
    raise SystemExit(main())
