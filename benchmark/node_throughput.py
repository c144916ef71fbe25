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

"""Measures the node as a robot meets it: source, node and subscriber are processes of their own.

640x480 images at 30 Hz go in; another process subscribes best effort to the depth image and the
full cloud. Absolute figures hold for an otherwise idle machine: the load is written beside them.

    python benchmark/node_throughput.py --json throughput.json
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from depthrefl_ros.ros.diagnostics import percentile
from depthrefl_ros.tools.command_line import (
    StopRequest,
    ToolError,
    add_json_argument,
    make_parser,
    positive_float,
    positive_int,
    progress,
    run_tool,
    write_json,
)
from depthrefl_ros.tools.processes import Child, Children

if TYPE_CHECKING:
    from rclpy.node import Node

RECORDING = Path(__file__).resolve().parents[1] / "test" / "data" / "corridor.mcap"
PRELOADED = 60  # frames that the source holds decoded, so that decoding takes no time meanwhile
WARM_UP = 30  # first frames, left out of rate and latency
RSS_AFTER = 200  # frames; what grows after that is a leak
START_WITHIN_S = 60.0
SILENCE_S = 3.0  # after this long without a cloud the subscriber is done


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; see ``--help``."""
    return run_tool(_parser(), argv, _run)


def _parser() -> argparse.ArgumentParser:
    parser = make_parser(
        "node_throughput",
        "Clouds a second, latency, losses and memory of the real node between processes.",
        "python benchmark/node_throughput.py --frames 2000 --json throughput.json",
    )
    parser.add_argument("--source", default=str(RECORDING), help="source, as for camera_source")
    parser.add_argument("--frames", type=positive_int, default=2000, help="default %(default)s")
    parser.add_argument("--rate", type=positive_float, default=30.0, help="default %(default)g Hz")
    parser.add_argument("--engine", default="auto", help="default %(default)s")
    parser.add_argument("--precision", default="auto", help="default %(default)s")
    parser.add_argument("--model", default="indoor_tiny", help="default %(default)s")
    parser.add_argument("--subscriber", type=Path, metavar="FILE", help=argparse.SUPPRESS)
    add_json_argument(parser, "the figures")
    return parser


def _run(args: argparse.Namespace, _ros_args: list[str]) -> None:
    if args.subscriber:
        subscribe(args.subscriber)
        return
    load_before = os.getloadavg()
    with tempfile.TemporaryDirectory(prefix="throughput-") as folder:
        source, received, rss = _measure(args, Path(folder))
    figures = summarise(source, received, rss)
    figures["load_average_before"], figures["load_average_after"] = load_before, os.getloadavg()
    figures["cpus"] = len(os.sched_getaffinity(0))
    for name, value in figures.items():
        print(f"  {name:<26}{value:.2f}" if isinstance(value, float) else f"  {name:<26}{value}")
    write_json(args.json, figures)


def _measure(args: argparse.Namespace, folder: Path) -> tuple[dict, dict, list]:
    """Run the three processes; returns the source's report, the subscriber's, and the memory."""
    source_report, received_report = folder / "source.json", folder / "received.json"
    with StopRequest() as stop, Children(folder) as children:
        source = children.start(
            "source",
            *("-m", "depthrefl_ros.tools.camera_source", args.source, "--loop"),
            *("--preload", str(PRELOADED), "--rate", str(args.rate), "--frames", str(args.frames)),
            *("--wait-for-subscriber", str(START_WITHIN_S), "--json", str(source_report)),
        )
        subscriber = children.start("subscriber", __file__, "--subscriber", str(received_report))
        node = children.start(
            "node",
            *("-m", "depthrefl_ros.ros.node", "--ros-args"),
            *("-r", "image:=/camera/image_raw", "-r", "camera_info:=/camera/camera_info"),
            *("-p", f"engine:={args.engine}", "-p", f"model:={args.model}"),
            *("-p", f"precision:={args.precision}"),
        )
        rss = _watch(node, subscriber, children, args.frames / args.rate, stop)
        if not received_report.is_file() or not source_report.is_file():
            raise node.failure("was stopped" if stop else "gave no result")
        children.check()
        source.wait(START_WITHIN_S)
        return json.loads(source_report.read_text()), json.loads(received_report.read_text()), rss


def _watch(
    node: Child, subscriber: Child, children: Children, expected_s: float, stop: StopRequest
) -> list[tuple[int, float]]:
    """Return the node's memory over time, (time_ns, MB), until the subscriber is done."""
    rss: list[tuple[int, float]] = []
    end = time.monotonic() + START_WITHIN_S + 2 * expected_s
    with progress(round(expected_s), "measuring", "s") as bar:
        while subscriber.is_running:
            children.check()
            rss.append((time.time_ns(), resident_mb(node.pid)))
            bar.update(min(round(len(rss) * 0.2), bar.total) - bar.n)
            if stop.sleep_until(time.monotonic() + 0.2):
                break
            if time.monotonic() > end:
                raise node.failure("took more than twice the time")
    return rss


def resident_mb(pid: int) -> float:
    """Return the resident memory of a process, MB (1e6 bytes), by /proc; NaN if it is gone."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return float("nan")
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def summarise(source: dict, received: dict, rss: list[tuple[int, float]]) -> dict:
    """Return the figures of one run.

    Args:
        source: of ``camera_source --json``.
        received: of ``subscribe``.
        rss: (time_ns, MB) of the node.
    """
    clouds, values = received["points"], received["diagnostics"]
    times = [one["received_ns"] for one in clouds]
    if len(clouds) < 3:
        raise ToolError(f"{len(clouds)} clouds came; 3 at least are needed")
    warm_up = min(WARM_UP, len(clouds) // 3)
    counted = slice(warm_up, None)
    seconds = (times[-1] - times[warm_up]) / 1e9
    latencies = [one["latency_ms"] for one in clouds[counted]]
    depth_latencies = [one["latency_ms"] for one in received["depth/image"][counted]]
    steps = {
        key[len("step_ms_") : -len("_p50")]: float(value)
        for key, value in values.items()
        if key.startswith("step_ms_") and key.endswith("_p50")
    }
    published = int(values["published_points"])
    return {
        "clouds_per_s": (len(clouds) - 1 - warm_up) / seconds,
        "latency_ms_p50": percentile(latencies, 0.5),
        "latency_ms_p99": percentile(latencies, 0.99),
        "depth_latency_ms_p50": percentile(depth_latencies, 0.5),
        "depth_latency_ms_p99": percentile(depth_latencies, 0.99),
        "frames_in": source["frames"],
        "source_rate_hz": source["rate_hz"],
        "source_late": source["late"],
        "published": published,
        "received": len(clouds),
        "lost": published - len(clouds),
        "lost_before_node": source["frames"] - int(values["received"]),
        "dropped": {
            key[len("dropped_") :]: int(value)
            for key, value in values.items()
            if key.startswith("dropped_")
        },
        "engine_ms": steps.pop("engine"),
        "outside_engine_ms": steps.pop("outside_engine"),
        "outside_engine_ms_p99": float(values["step_ms_outside_engine_p99"]),
        "receipt_to_published_ms": steps.pop("since_receipt"),
        "node_ms": steps,
        "rss_mb_start": _at(rss, times[min(RSS_AFTER, len(times)) - 1]),
        "rss_mb_end": _at(rss, times[-1]),
        "model": values["model"],
        "engine": values["engine"],
    }


def _at(rss: list[tuple[int, float]], time_ns: int) -> float:
    return min(rss, key=lambda sample: abs(sample[0] - time_ns))[1]


def subscribe(report: Path) -> None:
    """Receive depth images and clouds until they stop coming; writes ``report``."""
    from diagnostic_msgs.msg import DiagnosticArray
    from sensor_msgs.msg import Image, PointCloud2

    values: dict[str, str] = {}

    def on_diagnostics(message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name == "depthrefl":
                values.update({item.key: item.value for item in status.values})

    topics = {"depth/image": Image, "points": PointCloud2}
    received = receive(
        topics,
        lambda node: node.create_subscription(DiagnosticArray, "/diagnostics", on_diagnostics, 10),
    )
    write_json(report, {**received, "diagnostics": values})


def receive(
    topics: dict[str, type], subscribe_more: Callable[[Node], Any] = lambda node: None
) -> dict[str, list[dict[str, float]]]:
    """Receive messages, best effort, until they stop coming.

    Messages are taken serialised: what a subscriber does with them is its own affair.

    Args:
        topics: their types by name.
        subscribe_more: may subscribe the node to others, which do not count.

    Returns:
        ``received_ns`` and ``latency_ms``, since the stamp, of each message by topic.
    """
    from rclpy.executors import SingleThreadedExecutor
    from rclpy.qos import qos_profile_sensor_data

    from depthrefl_ros.tools.recordings import header_stamp
    from depthrefl_ros.tools.ros_node import tool_node

    received: dict[str, list] = {topic: [] for topic in topics}
    last_s = [time.monotonic() + START_WITHIN_S]

    def on_message(topic: str, serialised: bytes) -> None:
        now = time.time_ns()
        latency_ms = (now - header_stamp(serialised)) / 1e6
        received[topic].append({"received_ns": now, "latency_ms": latency_ms})
        last_s[0] = time.monotonic()

    with StopRequest() as stop, tool_node("throughput_subscriber", []) as node:
        for topic, kind in topics.items():
            node.create_subscription(
                kind, topic, partial(on_message, topic), qos_profile_sensor_data, raw=True
            )
        subscribe_more(node)
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        # Silence is longer than the diagnostics' period: the last counters are in.
        while not stop and time.monotonic() < last_s[0] + SILENCE_S:
            executor.spin_once(timeout_sec=0.2)
        executor.shutdown()
    return received


if __name__ == "__main__":
    sys.exit(main())
