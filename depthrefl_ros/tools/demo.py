"""``demo``: the whole way, camera to metric depth and cloud, over real ROS 2 on this machine.

Three processes in a ROS domain of their own: ``camera_source`` plays, the node ``depthrefl``
works, ``record`` listens. What was recorded is then compared with the truth.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import cv2

from depthrefl_ros.ros.middleware import share_path
from depthrefl_ros.tools.camera_info_file import Intrinsics, NoCameraInfoError
from depthrefl_ros.tools.camera_source import PUBLISHING
from depthrefl_ros.tools.command_line import (
    StopRequest,
    ToolError,
    add_json_argument,
    make_parser,
    positive_float,
    progress,
    run_tool,
    write_json,
)
from depthrefl_ros.tools.demo_report import evaluate, make_report, overview_rows, table
from depthrefl_ros.tools.frame_sources import FrameSource, open_source
from depthrefl_ros.tools.overview import draw_overview
from depthrefl_ros.tools.processes import Child, Children
from depthrefl_ros.tools.truth import find_truth

SHIPPED_RECORDING = "test/data/corridor.mcap"
ASSUMED_HFOV_DEG = 60.0  # most webcams: 55 to 70 degrees
READY_WITHIN_S = 90.0  # a first start compiles the network
DRAIN_S = 1.5  # from the source's last frame to the recorder's stop
STOP_WITHIN_S = 30.0  # the recorder may have much to write
NODE_ERRORS = ("[ERROR]", "[FATAL]", "Traceback")


def main(argv: list[str] | None = None) -> int:
    """Runs the command; see ``depthrefl demo --help``."""
    return run_tool(_parser(), argv, _run)


def _parser() -> argparse.ArgumentParser:
    parser = make_parser(
        "depthrefl demo",
        "Play a source through the real node, as separate processes over DDS, and show what "
        "came out: a table, overview.png, cloud.ply, demo.mcap and report.json.",
        """depthrefl demo
        depthrefl demo --source 0 --hfov 70 --seconds 20
        depthrefl demo --source drive.mp4 --camera-info camera.yaml --output drive""",
    )
    parser.add_argument(
        "--source",
        help="webcam number, video, image folder or recording; default: the shipped recording",
    )
    parser.add_argument(
        "--output", type=Path, default=Path("demo"), help="folder (default %(default)s)"
    )
    parser.add_argument("--model", default="indoor_tiny", help="bundle (default %(default)s)")
    parser.add_argument("--engine", default="auto", help="runtime (default %(default)s)")
    parser.add_argument("--rate", type=positive_float, metavar="HZ", help="default: the source's")
    parser.add_argument(
        "--seconds",
        type=positive_float,
        default=60.0,
        metavar="S",
        help="of the source at most (default %(default)g)",
    )
    parser.add_argument(
        "--camera-info", type=Path, metavar="FILE", help="YAML, for sources without camera info"
    )
    parser.add_argument(
        "--hfov",
        type=positive_float,
        metavar="DEGREES",
        help=f"horizontal field of view, instead (default {ASSUMED_HFOV_DEG:g} where needed)",
    )
    add_json_argument(parser, "the report, besides OUTPUT/report.json,")
    return parser


def _run(args: argparse.Namespace, _ros_args: list[str]) -> None:
    started_s = time.monotonic()
    if args.source is None:
        args.source = _shipped_recording()
    source = _checked_source(args)
    logs = args.output / "logs"
    with StopRequest() as stop, Children(logs) as children:
        _play(args, source, children, logs, stop)
    published = json.loads((logs / "source.json").read_text())
    recorded = json.loads((logs / "record.json").read_text())
    files = _write_results(args, published, recorded)
    print(f"\nfinished in {time.monotonic() - started_s:.0f} s; written:")
    for name, content in files.items():
        print(f"  {str(args.output / name):<24} {content}")


def _shipped_recording() -> str:
    """The recording in the source tree, or where it is installed."""
    try:
        return str(share_path(SHIPPED_RECORDING))
    except FileNotFoundError as error:
        raise ToolError(f"{error}; give --source, or run the demo in the source tree") from error


def _checked_source(args: argparse.Namespace) -> FrameSource:
    """Opens the source, so that what is wrong with it shows before anything is started.

    Where nothing is known about its camera, a field of view is assumed, and said.
    """
    source = open_source(args.source, Intrinsics(args.camera_info, args.hfov))
    try:
        if source.is_live:  # opening a camera twice in a row fails with some drivers
            if args.camera_info is None and args.hfov is None:
                raise NoCameraInfoError
        elif next(source.frames(), None) is None:
            raise ToolError(f"{source.name}: has no frames")
    except NoCameraInfoError:
        args.hfov = ASSUMED_HFOV_DEG
        print(
            f"{source.name} has no camera info: a horizontal field of view of {args.hfov:g} "
            "degrees is assumed, and distances are only as right as that; give --hfov or "
            "--camera-info"
        )
        return open_source(args.source, Intrinsics(None, args.hfov))
    return source


def _play(
    args: argparse.Namespace,
    source: FrameSource,
    children: Children,
    logs: Path,
    stop: StopRequest,
) -> None:
    """Runs recorder, node and source until the source ends, and ends them in order."""
    # The camera first: the node then finds it when it subscribes, and need not subscribe anew.
    camera = children.start("source", "-m", "depthrefl_ros.tools.camera_source", *_arguments(args))
    recorder = children.start(
        "record",
        *("-m", "depthrefl_ros.tools.record", "--output", str(args.output), "--name", "demo"),
        *("--overwrite", "--pictures-every", "0", "--wait", f"{READY_WITHIN_S + args.seconds}"),
        *("--json", str(logs / "record.json")),
    )
    node = children.start(
        "node",
        *("-m", "depthrefl_ros.ros.node", "--ros-args"),
        *("-r", "image:=/camera/image_raw", "-r", "camera_info:=/camera/camera_info"),
        *("-p", f"model:={args.model}", "-p", f"engine:={args.engine}"),
    )
    print(f"starting the node in ROS domain {children.environment['ROS_DOMAIN_ID']} ...")
    _wait_until_playing(camera, node, children, stop)
    print(f"playing {source.name}")
    _wait_for_source(camera, source, args.seconds, children, stop)
    stop.sleep_until(time.monotonic() + DRAIN_S)
    for child in (camera, recorder, node):
        child.interrupt()
        child.wait(STOP_WITHIN_S)
    camera.check()
    node.check()
    if recorder.process.returncode:
        raise node.failure(f"was not recorded ({recorder.output().splitlines()[-1]})")


def _arguments(args: argparse.Namespace) -> list[str]:
    """The command line of ``camera_source``."""
    options = {
        "--rate": args.rate,
        "--camera-info": args.camera_info,
        "--hfov": args.hfov,
        "--wait-for-subscriber": READY_WITHIN_S,
        "--subscribers": 2,  # the node and the recorder
        "--json": args.output / "logs" / "source.json",
    }
    given = [(name, str(value)) for name, value in options.items() if value is not None]
    return [args.source, *(text for pair in given for text in pair)]


def _wait_until_playing(camera: Child, node: Child, children: Children, stop: StopRequest) -> None:
    """Waits for the first frame: the source waits until node and recorder listen."""
    while PUBLISHING not in camera.output():
        if any(word in node.output() for word in NODE_ERRORS):
            raise node.failure("could not start")
        children.check()
        if stop.sleep_until(time.monotonic() + 0.1):
            raise ToolError("stopped before the node was ready")


def _wait_for_source(
    camera: Child, source: FrameSource, seconds: float, children: Children, stop: StopRequest
) -> None:
    """Waits until the source has ended, its time is over, or a stop."""
    expected_s = min(seconds, source.count / source.rate_hz if source.count else seconds)
    started_s = time.monotonic()
    with progress(round(expected_s), "playing", "s") as bar:
        while camera.is_running and not stop:
            children.check()
            passed_s = time.monotonic() - started_s
            if passed_s > seconds:
                camera.interrupt()
                break
            bar.update(min(round(passed_s), bar.total) - bar.n)
            stop.sleep_until(time.monotonic() + 0.1)
    children.check()


def _write_results(args: argparse.Namespace, published: dict, recorded: dict) -> dict[str, str]:
    """Compares, prints the table and writes picture and report; returns the files by name."""
    recording, truth = args.output / "demo.mcap", find_truth(args.source)
    evaluation = evaluate(recording, published["stamps"], truth)
    report = make_report(published, recorded, evaluation)
    print(f"\n{table(report)}")
    rows = overview_rows(recording, published["stamps"], truth, evaluation)
    files = {}
    if rows:
        picture = draw_overview(rows, _title(report))
        cv2.imwrite(str(args.output / "overview.png"), picture)
        files["overview.png"] = "camera, depth" + (", truth and error" if truth else "")
    write_json(args.output / "report.json", report)
    write_json(args.json, report)
    if (args.output / "cloud.ply").is_file():
        files["cloud.ply"] = "the last cloud, for MeshLab, CloudCompare or Blender"
    files["demo.mcap"] = "everything, for Foxglove or 'ros2 bag play'"
    files["report.json"] = "these figures"
    return files


def _title(report: dict) -> str:
    parts = [Path(report["source"]).name, f"{report['model']}, {report['engine']}"]
    if report["abs_rel"] is not None:
        parts.append(f"AbsRel {report['abs_rel']:.3f}, delta1 {report['delta1']:.3f}")
    return "   |   ".join(parts)


if __name__ == "__main__":
    raise SystemExit(main())
