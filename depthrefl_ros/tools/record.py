"""``record``: the node's results into an MCAP file, PNG pictures and a PLY cloud."""

from __future__ import annotations

import argparse
import time
from contextlib import ExitStack
from pathlib import Path

from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CameraInfo, Image, PointCloud2

from depthrefl_ros.geometry.cloud import write_ply
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
from depthrefl_ros.tools.recorder import Channel, Recorder, points_of
from depthrefl_ros.tools.recording_writer import RecordingWriter
from depthrefl_ros.tools.ros_node import tool_node

POLL_S = 0.1  # how often the graph is looked at for topics that were not there yet
DRAIN_S = 0.5  # for the rest of the last frame


def main(argv: list[str] | None = None) -> int:
    """Runs the command; see ``depthrefl record --help``."""
    return run_tool(_parser(), argv, _run)


def _parser() -> argparse.ArgumentParser:
    parser = make_parser(
        "depthrefl record",
        "Record the node's results: an MCAP file that Foxglove and 'ros2 bag play' open, every "
        "n-th preview as PNG, and the last cloud as PLY. Ctrl-C ends it in order.",
        """depthrefl record --output drive1
        depthrefl record --frames 100 --points-every 1 --json figures.json
        depthrefl record --namespace /front --image-topic /front/image_raw --seconds 20""",
    )
    parser.add_argument(
        "--output", type=Path, default=Path("recording"), help="folder (default %(default)s)"
    )
    parser.add_argument(
        "--name", default="recording", help="of the MCAP file (default %(default)s)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace files that exist")
    parser.add_argument("--namespace", default="/", help="of the node (default %(default)s)")
    parser.add_argument(
        "--image-topic",
        default="/camera/image_raw",
        help="the camera's images, recorded as well; '' for none (default %(default)s)",
    )
    parser.add_argument(
        "--frames", type=positive_int, metavar="N", help="stop after N depth images"
    )
    parser.add_argument(
        "--seconds", type=positive_float, metavar="S", help="stop S after the first"
    )
    parser.add_argument(
        "--wait",
        type=positive_float,
        default=60.0,
        metavar="S",
        help="give up if no depth image comes within S seconds (default %(default)g)",
    )
    parser.add_argument(
        "--points-every",
        type=positive_int,
        default=10,
        metavar="N",
        help="store every N-th cloud: one of 640x480 takes 5 MB (default %(default)s)",
    )
    parser.add_argument("--no-points", action="store_true", help="record no clouds")
    parser.add_argument(
        "--pictures-every",
        type=int,
        default=10,
        metavar="N",
        help="every N-th preview as PNG; 0 for none (default %(default)s)",
    )
    parser.add_argument(
        "--raw-images", action="store_true", help="store colour images as they come, not as JPEG"
    )
    add_json_argument(parser, "frames, rate, latency and the node's diagnostics")
    return parser


def _channels(args: argparse.Namespace) -> list[Channel]:
    prefix = args.namespace.rstrip("/")
    jpeg = not args.raw_images
    channels = [
        Channel(f"{prefix}/depth/image", Image),
        Channel(f"{prefix}/depth/camera_info", CameraInfo),
        Channel(f"{prefix}/depth/preview", Image, as_jpeg=jpeg),
    ]
    if not args.no_points:
        channels.append(Channel(f"{prefix}/points", PointCloud2, every=args.points_every))
    if args.image_topic:
        info_topic = args.image_topic.rsplit("/", 1)[0] + "/camera_info"
        channels.append(Channel(args.image_topic, Image, as_jpeg=jpeg, is_result=False))
        channels.append(Channel(info_topic, CameraInfo, is_result=False))
    return channels


def _run(args: argparse.Namespace, ros_args: list[str]) -> None:
    path = args.output / f"{args.name}.mcap"
    for file in (path, args.output / "metadata.yaml"):
        if file.exists() and not args.overwrite:
            raise ToolError(f"{file}: exists; choose another --output or give --overwrite")
    with ExitStack() as stack:
        stop = stack.enter_context(StopRequest())
        node = stack.enter_context(tool_node("record", ros_args))
        writer = RecordingWriter(path)
        stack.callback(writer.discard)
        recorder = Recorder(node, _channels(args), writer, (args.output, args.pictures_every))
        _listen(node, recorder, args, stop)
        if not recorder.figures.stamps_ns:
            raise ToolError(f"{recorder.channels[0].topic}: no depth image came before the stop")
        writer.close()
    figures = recorder.figures.as_dict()
    figures["not_encoded"] = writer.not_encoded
    if writer.not_encoded:
        print(f"record: {writer.not_encoded} pictures were left out: {writer.encode_error}")
    figures["topics"] = {channel.topic: channel.count for channel in recorder.channels}
    figures["files"] = [str(path), *_write_cloud(recorder, args.output / "cloud.ply")]
    write_json(args.json, figures)
    for file in figures["files"]:
        print(f"record: {file}")


def _listen(node: Node, recorder: Recorder, args: argparse.Namespace, stop: StopRequest) -> None:
    """Receives until enough has come, then what is still on its way."""
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    depth, started_s, next_poll_s, is_ready = recorder.channels[0], time.monotonic(), 0.0, False
    first_s: float | None = None
    with progress(args.frames, "recording", "frames") as bar:
        while not stop and not (args.frames and depth.count >= args.frames):
            now = time.monotonic()
            if now >= next_poll_s:
                recorder.subscribe_to_new_topics()
                next_poll_s = now + POLL_S
                if recorder.hears_all_results and not is_ready:
                    is_ready = True
                    print("record: listening to all results", flush=True)
            if depth.count == 0 and now - started_s > args.wait:
                raise ToolError(_nothing_came(node, depth.topic, args.wait))
            if depth.count and first_s is None:
                first_s = now
            if args.seconds and first_s is not None and now - first_s > args.seconds:
                break
            executor.spin_once(timeout_sec=POLL_S)
            recorder.check()
            bar.update(depth.count - bar.n)
    recorder.finish_frame()
    end = time.monotonic() + DRAIN_S
    while time.monotonic() < end:
        executor.spin_once(timeout_sec=POLL_S)
    executor.shutdown()


def _nothing_came(node: Node, topic: str, seconds: float) -> str:
    publishers = node.count_publishers(topic)
    hint = "is its camera running?" if publishers else "is the node running and active?"
    return f"{topic}: no depth image within {seconds:g} s, {publishers} publishers; {hint}"


def _write_cloud(recorder: Recorder, path: Path) -> list[str]:
    """Writes the last cloud, if one came; returns the file."""
    for channel in recorder.channels:
        if channel.kind is PointCloud2 and channel.count:
            write_ply(path, points_of(deserialize_message(channel.last, PointCloud2)))
            return [str(path)]
    return []


if __name__ == "__main__":
    raise SystemExit(main())
