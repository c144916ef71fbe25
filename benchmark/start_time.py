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

"""Measures how long the node takes from the start of its process to its first depth image.

The real executable is started again and again beside a camera (640x480 at 30 Hz) and a best-effort
subscriber, by turns as users start it and with ``PYTHONPROFILEIMPORTTIME``, which tells how much of
the time goes into imports. Absolute figures hold for an otherwise idle machine: the load is written
beside them.

    python benchmark/start_time.py --json start_time.json
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
import time
from array import array
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from depthrefl_ros.tools.command_line import (
    StopRequest,
    ToolError,
    add_json_argument,
    make_parser,
    positive_int,
    progress,
    run_tool,
    write_json,
)
from depthrefl_ros.tools.processes import Child, Children
from depthrefl_ros.tools.recordings import header_stamp

WIDTH, HEIGHT = 640, 480
CAMERA_PERIOD_S = 1 / 30
WITHIN_S = 60.0
# Of PYTHONPROFILEIMPORTTIME: "import time: self [us] | cumulative | imported package".
IMPORT_LINE = re.compile(r"^import time:\s+(\d+) \|\s+\d+ \|\s*(\S+)", re.MULTILINE)


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; see ``--help``."""
    return run_tool(_parser(), argv, _run)


def _parser() -> argparse.ArgumentParser:
    parser = make_parser(
        "start_time",
        "Seconds from the start of the node's process to its first depth image, and of imports.",
        "python benchmark/start_time.py --runs 5 --json start_time.json",
    )
    parser.add_argument("--runs", type=positive_int, default=5, help="default %(default)s")
    parser.add_argument("--engine", default="openvino", help="default %(default)s")
    parser.add_argument("--model", default="indoor_tiny", help="default %(default)s")
    add_json_argument(parser, "the figures")
    return parser


def _run(args: argparse.Namespace, _ros_args: list[str]) -> None:
    load_before = os.getloadavg()
    parameters = ("-p", f"engine:={args.engine}", "-p", f"model:={args.model}")
    with tempfile.TemporaryDirectory(prefix="start-time-") as folder:
        plain, cpu, traced, imports = _measure(args.runs, parameters, Path(folder))
    shares = [one / whole for one, whole in zip(imports, traced, strict=True)]
    figures = {
        "start_to_depth_s": median(plain),
        "start_to_depth_cpu_s": median(cpu),
        "import_s": median(imports),
        "import_share": median(shares),
        "start_to_depth_s_runs": plain,
        "start_to_depth_cpu_s_runs": cpu,
        "import_s_runs": imports,
        "import_share_runs": shares,
        "model": args.model,
        "engine": args.engine,
        "load_average_before": load_before,
        "load_average_after": os.getloadavg(),
        "cpus": len(os.sched_getaffinity(0)),
    }
    for name, value in figures.items():
        print(f"  {name:<26}{value:.2f}" if isinstance(value, float) else f"  {name:<26}{value}")
    write_json(args.json, figures)


def _measure(
    runs: int, parameters: tuple[str, ...], folder: Path
) -> tuple[list[float], list[float], list[float], list[float]]:
    """Return seconds to the first depth, CPU seconds, both traced, and those of imports."""
    plain, cpu, traced, imports = [], [], [], []
    with StopRequest() as stop, progress(2 * runs, "measuring", "start") as bar:
        for number in range(runs):
            start = _start(parameters, folder / f"plain{number}", "", stop)
            plain.append(start.seconds)
            cpu.append(start.cpu_seconds)
            bar.update()
            start = _start(parameters, folder / f"traced{number}", "1", stop)
            traced.append(start.seconds)
            imports.append(import_seconds(start.output))
            bar.update()
    return plain, cpu, traced, imports


@dataclass(frozen=True)
class Start:
    """One start of the node.

    Attributes:
        seconds: to the first depth image.
        cpu_seconds: that the node's process computed until then.
        output: what it wrote.
    """

    seconds: float
    cpu_seconds: float
    output: str


def _start(parameters: tuple[str, ...], folder: Path, trace: str, stop: StopRequest) -> Start:
    # In a ROS domain of its own: where the last node has just left, discovery at times takes
    # a second longer.
    with Children(folder) as children:
        os.environ.update(children.environment)  # for the camera, before ROS reads it
        children.environment["PYTHONPROFILEIMPORTTIME"] = trace
        with Camera() as camera:
            node = children.start(
                "node",
                *("-m", "depthrefl_ros.ros.node", "--ros-args"),
                *("-r", "__ns:=/start_time", *parameters),
            )
            seconds = camera.first_depth(node, stop)
            computed_s = cpu_seconds(node.pid)
            node.interrupt()
            node.wait(WITHIN_S)
    return Start(seconds, computed_s, node.output())


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process so far, user and system (``man 5 proc``)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def import_seconds(output: str) -> float:
    """Return what all imports took together.

    Args:
        output: of a process with PYTHONPROFILEIMPORTTIME set, other lines between.

    Raises:
        ToolError: it has no such line.
    """
    microseconds = [int(own) for own, _ in IMPORT_LINE.findall(output)]
    if not microseconds:
        raise ToolError("the node said nothing of its imports, for all PYTHONPROFILEIMPORTTIME")
    return sum(microseconds) * 1e-6


class Camera:
    """A camera at 30 Hz that waits for the first depth image made of it."""

    def __enter__(self) -> Camera:
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.qos import qos_profile_sensor_data
        from sensor_msgs.msg import CameraInfo, Image

        from depthrefl_ros.geometry.camera import Camera as Lens
        from depthrefl_ros.ros.convert.camera_info import camera_to_info
        from depthrefl_ros.tools.ros_node import tool_node

        self._context = tool_node("start_time_camera", [], "/start_time")
        node = self._context.__enter__()
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(node)
        self._images = node.create_publisher(Image, "image", 1)
        self._infos = node.create_publisher(CameraInfo, "camera_info", 1)
        self._arrived_s: float | None = None
        self._first_stamp_ns = 0
        node.create_subscription(
            Image, "depth/image", self._on_depth, qos_profile_sensor_data, raw=True
        )
        self._clock = node.get_clock()
        pixels = np.random.default_rng(3).integers(0, 255, HEIGHT * WIDTH * 3, np.uint8)
        self._image = Image(height=HEIGHT, width=WIDTH, encoding="bgr8", step=WIDTH * 3)
        self._image.data = array("B", pixels.tobytes())
        lens = Lens.pinhole(WIDTH, HEIGHT, 525.0, 525.0, 319.5, 239.5)
        self._info = camera_to_info(lens, self._image.header)
        return self

    def __exit__(self, *error: object) -> None:
        self._executor.shutdown()
        self._context.__exit__(*error)

    def _on_depth(self, serialised: bytes) -> None:
        # The node before this one may have had an image under way when it ended.
        if self._arrived_s is None and header_stamp(serialised) >= self._first_stamp_ns:
            self._arrived_s = time.monotonic()

    def first_depth(self, node: Child, stop: StopRequest) -> float:
        """Return seconds from now until the first depth image; the node has just been started.

        Raises:
            ToolError: the node ended, or none came in time, or the user stopped.
        """
        start_s = due_s = time.monotonic()
        self._first_stamp_ns = self._clock.now().nanoseconds
        self._arrived_s = None
        while self._arrived_s is None:
            now_s = time.monotonic()
            if stop or not node.is_running or now_s > start_s + WITHIN_S:
                raise node.failure("was stopped" if stop else "gave no depth image")
            if now_s >= due_s:
                self._send()
                due_s = now_s + CAMERA_PERIOD_S
            self._executor.spin_once(timeout_sec=0.005)
        return self._arrived_s - start_s

    def _send(self) -> None:
        stamp = self._clock.now().to_msg()
        self._image.header.stamp = self._info.header.stamp = stamp
        self._infos.publish(self._info)
        self._images.publish(self._image)


if __name__ == "__main__":
    sys.exit(main())
