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

"""``demo``: the whole way, camera to metric depth and cloud, over real ROS 2 on this machine.

Three processes in a ROS domain of their own: ``camera_source`` plays, the node works, ``record``
listens. What was recorded is then compared with the truth.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from pathlib import Path

import cv2

from depthrefl_ros.ros.middleware import share_path
from depthrefl_ros.tools.camera_info_file import OF_TURNED, Intrinsics, add_camera_arguments
from depthrefl_ros.tools.camera_source import PUBLISHING
from depthrefl_ros.tools.command_line import (
    StopRequest,
    ToolError,
    add_json_argument,
    add_model_arguments,
    make_parser,
    port_number,
    positive_float,
    progress,
    run_tool,
    write_json,
)
from depthrefl_ros.tools.demo_commands import (
    live_source_arguments,
    node_arguments,
    record_arguments,
    source_arguments,
)
from depthrefl_ros.tools.demo_evaluation import evaluate, judge_marks, overview_rows
from depthrefl_ros.tools.demo_live import play_live
from depthrefl_ros.tools.demo_report import (
    Circumstances,
    is_of_demo,
    make_report,
    table,
    title,
    warning,
)
from depthrefl_ros.tools.frame_sources import (
    ASSUMED_HFOV_DEG,
    FrameSource,
    open_source_or_assume,
)
from depthrefl_ros.tools.output_folder import check_output_folder
from depthrefl_ros.tools.overview import draw_overview, write_moving_overview
from depthrefl_ros.tools.processes import (
    Child,
    Children,
    cpu_times,
    isolated_environment,
    ros_domain,
    share_busy,
)
from depthrefl_ros.tools.record import ENGINE
from depthrefl_ros.tools.source_mounts import add_mount_arguments, said_mount
from depthrefl_ros.tools.truth import find_truth

SHIPPED_RECORDING = "test/data/corridor.mcap"
SHIPPED_MOUNT = (0.5, 4.0, 0.0)  # of its camera: metres above the floor, degrees down and to a side
LIVE_SECONDS = 60.0
MAX_GIGABYTES = 2.0
MEGABYTES_PER_PIXEL = 5.5e-6  # of a frame in the recording, clouds included
MOVING_FRAMES = 16
DRAIN_S = 1.5  # from the source's last frame to the recorder's stop
STOP_WITHIN_S = 30.0  # the recorder may have much to write
NODE_ERRORS = ("[ERROR]", "[FATAL]", "Traceback")
RESULTS = {
    "overview.png": "what the camera saw and what the node made of it",
    "overview.webp": "the same, moving",
    "cloud.ply": "the last cloud, for MeshLab, CloudCompare or Blender",
    "demo.mcap": "everything, for Foxglove or 'ros2 bag play'",
    "report.json": "these figures",
}


def main(argv: list[str] | None = None) -> int:
    """Run the command; see ``depthrefl demo --help``."""
    return run_tool(_parser(), argv, _run)


def _parser() -> argparse.ArgumentParser:
    parser = make_parser(
        "depthrefl demo",
        "Play a source through the real node, as separate processes over DDS, and show what "
        "came out: a table, pictures, cloud.ply, demo.mcap and report.json.",
        """depthrefl demo
        depthrefl demo --live
        depthrefl demo --source 0 --hfov 70 --seconds 20
        depthrefl demo --source photos/ --hfov 65 --output photos_depth
        depthrefl demo --source drive.mp4 --camera-info camera.yaml --camera-height 0.4""",
    )
    parser.add_argument(
        "--source",
        help="webcam number, video, image, image folder or recording; default: the shipped "
        "recording",
    )
    parser.add_argument(
        "--live",
        action="store_true",
        help="record nothing: show the source on a web page, over and over, until Ctrl-C",
    )
    parser.add_argument(
        "--port",
        type=port_number,
        metavar="N",
        help="port of that page (default: as depthrefl view)",
    )
    parser.add_argument(
        "--output", type=Path, default=Path("demo"), help="output folder (default %(default)s)"
    )
    add_model_arguments(parser)
    parser.add_argument(
        "--output-size",
        choices=("input", "network"),
        help="size of the depth images; network is faster (default: the node's)",
    )
    parser.add_argument(
        "--rate", type=positive_float, metavar="HZ", help="frame rate (default: the source's)"
    )
    parser.add_argument(
        "--seconds",
        type=positive_float,
        metavar="S",
        help=f"play at most S seconds (default: {LIVE_SECONDS:g} of a webcam, else all)",
    )
    parser.add_argument(
        "--max-gigabytes",
        type=positive_float,
        default=MAX_GIGABYTES,
        metavar="GB",
        help="end when the recording is this large (default %(default)g)",
    )
    add_camera_arguments(parser, note=f"{OF_TURNED} (default {ASSUMED_HFOV_DEG:g} where needed)")
    add_mount_arguments(parser, "needed to show what Nav2 gets")
    parser.add_argument(
        "--domain",
        type=ros_domain,
        metavar="N",
        help="ROS domain, so that RViz or Foxglove can connect (default: one that is free)",
    )
    parser.add_argument(
        "--no-localhost",
        action="store_true",
        help="let other machines connect (default: only this one)",
    )
    add_json_argument(parser, "the report, besides OUTPUT/report.json,")
    return parser


def _run(args: argparse.Namespace, _ros_args: list[str]) -> None:
    started_s = time.monotonic()
    said_mount(args)  # refuses an angle without a height before anything is played
    with StopRequest() as stop:
        if args.source is None:
            args.source = _shipped_recording()
            if args.camera_height is None:
                args.camera_height, args.camera_pitch, args.camera_roll = SHIPPED_MOUNT
        if not args.live:
            check_output_folder(args.output, is_of_demo)
        intrinsics = Intrinsics.of(args)
        source, assumed_hfov_deg = open_source_or_assume(args.source, intrinsics)
        args.hfov = assumed_hfov_deg or args.hfov
        for note in source.notes:
            _say(note)
        pixels = _pixels(source)
        environment = isolated_environment(args.domain, not args.no_localhost)
        if args.live:
            camera, node = live_source_arguments(args, source), node_arguments(args, pixels)
            view = [] if args.port is None else ["--port", str(args.port)]
            play_live(camera, node, view, environment, stop, args.seconds)
            return
        _say_what_is_written(args, source, pixels)
        logs = args.output / "logs"
        with Children(logs, environment) as children:
            busy = _play(args, source, pixels, children, logs, stop)
        circumstances = Circumstances(
            assumed_hfov_deg=assumed_hfov_deg,
            is_still=source.is_still and args.rate is None,
            cores=len(os.sched_getaffinity(0)),
            busy=busy,
            mount=said_mount(args),
            output_size=args.output_size,
        )
        published = json.loads((logs / "source.json").read_text())
        recorded = json.loads((logs / "record.json").read_text())
        files = _write_results(args, published, recorded, circumstances)
    seconds = time.monotonic() - started_s
    size_mb = sum((args.output / name).stat().st_size for name in files) / 1e6
    _say(f"\n{'stopped' if stop else 'finished'} after {seconds:.0f} s; {size_mb:.0f} MB written:")
    for name in files:
        _say(f"  {str(args.output / name):<24} {RESULTS[name]}")


def _say(text: str) -> None:
    print(text, flush=True)


def _shipped_recording() -> str:
    """Return the recording in the source tree, or where it is installed."""
    try:
        return str(share_path(SHIPPED_RECORDING))
    except FileNotFoundError as error:
        raise ToolError(f"{error}; give --source, or run the demo in the source tree") from error


def _pixels(source: FrameSource) -> int:
    """Return the size of the first frame; of a webcam, which is opened once, the usual one."""
    if source.is_live:
        return 640 * 480
    first = next(source.frames())
    return first.width * first.height


def _say_what_is_written(args: argparse.Namespace, source: FrameSource, pixels: int) -> None:
    """Say before anything is written where, and how much at most."""
    if source.is_live and args.seconds is None:
        args.seconds = LIVE_SECONDS
    frame_mb = pixels * MEGABYTES_PER_PIXEL
    frames = source.count
    if args.seconds is not None and not source.is_still:
        until = round(args.seconds * (args.rate or source.rate_hz))
        frames = min(until, frames) if frames else until
    limit = f"at most {args.max_gigabytes:g} GB (--max-gigabytes)"
    expected = f"about {max(1, round(frames * frame_mb))} MB, " if frames else ""
    _say(f"writing to {args.output}/: {expected}{limit}")


def _play(
    args: argparse.Namespace,
    source: FrameSource,
    pixels: int,
    children: Children,
    logs: Path,
    stop: StopRequest,
) -> float | None:
    """Run recorder, node and source until the source ends, and end them in order.

    Returns:
        The share of all cores' time that was used while the source played; None if unknown.
    """
    # The camera first: the node then finds it when it subscribes, and need not subscribe anew.
    camera = children.start(
        "source", "-m", "depthrefl_ros.tools.camera_source", *source_arguments(args, source)
    )
    recorder = children.start(
        "record", "-m", "depthrefl_ros.tools.record", *record_arguments(args, logs)
    )
    node = children.start("node", "-m", "depthrefl_ros.ros.node", *node_arguments(args, pixels))
    _say(f"starting the node in ROS domain {children.environment['ROS_DOMAIN_ID']} ...")
    _wait_until_playing(camera, recorder, node, children, stop)
    _say(f"playing {source.name}")
    before = cpu_times()
    _wait_for_source(camera, recorder, node, source, args.seconds, stop)
    after = cpu_times()
    time.sleep(DRAIN_S)
    for child in (camera, recorder):
        child.interrupt()
        child.wait(STOP_WITHIN_S)
    node.interrupt()
    try:
        node.wait(STOP_WITHIN_S)
    except ToolError as error:
        _say(str(error))
    if recorder.process.returncode:
        raise node.failure(f"was not recorded ({recorder.last_line()})")
    # What was recorded until then is shown all the same.
    for child in (camera, node):
        if child.process.returncode:
            _say(f"{child.name} ended with code {child.process.returncode}: {child.last_line()}")
    return share_busy(before, after)


def _wait_until_playing(
    camera: Child, recorder: Child, node: Child, children: Children, stop: StopRequest
) -> None:
    """Wait for the first frame: the source waits until the node's engine is open."""
    told = 0
    while PUBLISHING not in camera.output():
        if any(word in node.output() for word in NODE_ERRORS):
            raise node.failure("could not start")
        children.check()
        doing = [line for line in recorder.output().splitlines() if line.startswith(ENGINE)]
        for line in doing[told:]:
            _say(line[len(ENGINE) :].strip())
        told = len(doing)
        if stop.sleep_until(time.monotonic() + 0.1):
            raise ToolError("stopped before the node was ready; nothing was recorded")


def _wait_for_source(
    camera: Child,
    recorder: Child,
    node: Child,
    source: FrameSource,
    seconds: float | None,
    stop: StopRequest,
) -> None:
    """Wait until one of the three has ended, the time is over, or a stop; end the source."""
    expected_s = seconds
    if source.count and not source.is_still:
        expected_s = min(source.count / source.rate_hz, seconds or math.inf)
    started_s = time.monotonic()
    with progress(expected_s and round(expected_s), "playing", "s") as bar:
        while all(child.is_running for child in (camera, recorder, node)) and not stop:
            passed_s = time.monotonic() - started_s
            if seconds is not None and passed_s > seconds:
                break
            bar.update(min(round(passed_s), bar.total or round(passed_s)) - bar.n)
            stop.sleep_until(time.monotonic() + 0.1)
    if not recorder.is_running and recorder.process.returncode == 0:
        _say("ended early: the recording is as large as it may be (--max-gigabytes)")
    camera.interrupt()
    camera.wait(STOP_WITHIN_S)


def _write_results(
    args: argparse.Namespace, published: dict, recorded: dict, circumstances: Circumstances
) -> list[str]:
    """Compare, print the table and write picture and report; returns the names of the files."""
    recording, truth = args.output / "demo.mcap", find_truth(args.source)
    evaluation = evaluate(recording, published["stamps"], truth)
    marks = judge_marks(recording, published["stamps"], truth, circumstances.mount)
    report = make_report(published, recorded, evaluation, marks, circumstances)
    _say(f"\n{table(report)}")
    known = (recording, published["stamps"], truth, evaluation, circumstances.mount)
    if rows := overview_rows(*known):
        words = title(report), warning(report)
        cv2.imwrite(str(args.output / "overview.png"), draw_overview(rows, *words))
        moving = overview_rows(*known, MOVING_FRAMES)
        write_moving_overview(args.output / "overview.webp", moving, *words)
    write_json(args.output / "report.json", report)
    write_json(args.json, report)
    return [name for name in RESULTS if (args.output / name).is_file()]


if __name__ == "__main__":
    sys.exit(main())
