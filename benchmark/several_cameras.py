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

"""Several cameras: one process that shares an engine, beside a process for each camera.

The two arrangements run in turn, several times, with the same frames at the same rate. Another
process subscribes best effort to all full clouds. Only ratios between the two compare: the load
of the machine is written beside them.

    python benchmark/several_cameras.py --cameras 3 --rate 5 --json cameras.json
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

from node_throughput import RECORDING, START_WITHIN_S, receive

from depthrefl_ros.ros.diagnostics import percentile
from depthrefl_ros.tools.command_line import (
    StopRequest,
    ToolError,
    add_json_argument,
    make_parser,
    positive_float,
    positive_int,
    run_tool,
    write_json,
)
from depthrefl_ros.tools.processes import Child, Children

PRELOADED = 30  # frames that each source holds decoded
WARM_UP_S = 2.0  # after the first cloud; left out
ARRANGEMENTS = ("one process", "a process each")


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; see ``--help``."""
    return run_tool(_parser(), argv, _run)


def _parser() -> argparse.ArgumentParser:
    parser = make_parser(
        "several_cameras",
        "Several cameras in one process beside a process for each: clouds a second, latency, "
        "memory and CPU time a cloud.",
        "python benchmark/several_cameras.py --cameras 3 --rate 5 --json cameras.json",
    )
    parser.add_argument("--source", default=str(RECORDING), help="source, as for camera_source")
    parser.add_argument("--cameras", type=positive_int, default=3, help="default %(default)s")
    parser.add_argument("--rate", type=positive_float, default=5.0, help="default %(default)g Hz")
    parser.add_argument("--frames", type=positive_int, default=150, help="default %(default)s each")
    parser.add_argument("--runs", type=positive_int, default=3, help="of each; default %(default)s")
    parser.add_argument("--engine", default="auto", help="default %(default)s")
    parser.add_argument("--model", default="indoor_tiny", help="default %(default)s")
    parser.add_argument("--subscriber", type=Path, metavar="FILE", help=argparse.SUPPRESS)
    add_json_argument(parser, "the figures")
    return parser


def _run(args: argparse.Namespace, _ros_args: list[str]) -> None:
    names = [f"camera{i}" for i in range(args.cameras)]
    if args.subscriber:
        from sensor_msgs.msg import PointCloud2

        write_json(args.subscriber, receive({f"{name}/points": PointCloud2 for name in names}))
        return
    load_before = os.getloadavg()
    runs: dict[str, list[dict[str, float]]] = {one: [] for one in ARRANGEMENTS}
    with tempfile.TemporaryDirectory(prefix="cameras-") as folder, StopRequest() as stop:
        for number in range(args.runs):
            for one in ARRANGEMENTS:
                logs = Path(folder) / f"{one.replace(' ', '_')}_{number}"
                runs[one].append(_measure(args, names, one == ARRANGEMENTS[0], logs, stop))
    figures = {
        one: {key: statistics.median(run[key] for run in of_it) for key in of_it[0]}
        for one, of_it in runs.items()
    }
    print(f"  {'':<24}{ARRANGEMENTS[0]:>16}{ARRANGEMENTS[1]:>16}{'ratio':>8}")
    for key, shared in figures[ARRANGEMENTS[0]].items():
        alone = figures[ARRANGEMENTS[1]][key]
        print(f"  {key:<24}{shared:>16.2f}{alone:>16.2f}{shared / alone:>8.2f}")
    loads = {"load_average_before": load_before, "load_average_after": os.getloadavg()}
    write_json(args.json, {"median": figures, "runs": runs, **loads, "cpus": os.cpu_count()})


def _measure(
    args: argparse.Namespace, names: list[str], is_shared: bool, logs: Path, stop: StopRequest
) -> dict[str, float]:
    """Run one arrangement once and return its figures."""
    report = logs / "received.json"
    common = ("-p", f"engine:={args.engine}", "-p", f"model:={args.model}")
    with Children(logs) as children:
        subscriber = children.start(
            "subscriber", __file__, "--subscriber", str(report), "--cameras", str(args.cameras)
        )
        groups = [names] if is_shared else [[name] for name in names]
        nodes = [
            children.start(
                f"node_{group[0]}",
                *("-m", "depthrefl_ros.ros.node", "--ros-args", "-r", "image:=image_raw"),
                *("-p", f"cameras:={' '.join(group)}", *common),
            )
            for group in groups
        ]
        for name in names:
            children.start(
                f"source_{name}",
                *("-m", "depthrefl_ros.tools.camera_source", args.source, "--namespace", name),
                *("--preload", str(PRELOADED), "--loop", "--rate", str(args.rate)),
                *("--frames", str(args.frames), "--wait-for-subscriber", str(START_WITHIN_S)),
            )
        used = _watch(nodes, subscriber, children, args.frames / args.rate, stop)
        if not report.is_file():
            raise nodes[0].failure("was stopped" if stop else "gave no result")
        return {**summarise(json.loads(report.read_text())), **used}


def _watch(
    nodes: list[Child],
    subscriber: Child,
    children: Children,
    expected_s: float,
    stop: StopRequest,
) -> dict[str, float]:
    """Wait for the subscriber's end; return the nodes' memory and CPU time just before."""
    used = {"memory_mb": float("nan"), "cpu_s": float("nan")}
    end = time.monotonic() + START_WITHIN_S + 2 * expected_s
    while subscriber.is_running:
        children.check()
        used = {
            "memory_mb": sum(proportional_mb(node.pid) for node in nodes),
            "cpu_s": sum(cpu_s(node.pid) for node in nodes),
        }
        if stop.sleep_until(time.monotonic() + 0.5):
            break
        if time.monotonic() > end:
            raise nodes[0].failure("took more than twice the time")
    return used


def proportional_mb(pid: int) -> float:
    """Return a process's memory, MB (1e6 bytes); what several share counts for each by its part."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise ToolError(f"/proc/{pid}/smaps_rollup has no Pss; Linux 4.14 or later is needed")


def cpu_s(pid: int) -> float:
    """Return the CPU time that a process has taken, all its threads, seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def summarise(received: dict[str, list[dict[str, float]]]) -> dict[str, float]:
    """Return rate and latency over all cameras.

    Args:
        received: the clouds of each camera: ``received_ns`` and ``latency_ms``.
    """
    silent = [name for name, clouds in received.items() if not clouds]
    if silent:
        raise ToolError(f"no cloud came from {', '.join(silent)}")
    begin_ns = max(clouds[0]["received_ns"] for clouds in received.values()) + WARM_UP_S * 1e9
    counted = {
        name: [one for one in clouds if one["received_ns"] > begin_ns]
        for name, clouds in received.items()
    }
    fewest = min(len(clouds) for clouds in counted.values())
    if fewest < 2:
        raise ToolError(f"{fewest} clouds came after {WARM_UP_S:g} s; 2 at least are needed")
    seconds = (max(clouds[-1]["received_ns"] for clouds in counted.values()) - begin_ns) / 1e9
    latencies = [one["latency_ms"] for clouds in counted.values() for one in clouds]
    return {
        "clouds_per_s": len(latencies) / seconds,
        "clouds_per_s_slowest": fewest / seconds,
        "latency_ms_p50": percentile(latencies, 0.5),
        "latency_ms_p99": percentile(latencies, 0.99),
    }


if __name__ == "__main__":
    sys.exit(main())
