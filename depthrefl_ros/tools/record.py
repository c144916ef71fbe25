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

"""``record``: the node's results into an MCAP file, PNG pictures and a PLY cloud."""

from __future__ import annotations

import argparse
import math
import re
import time
from contextlib import ExitStack
from pathlib import Path

from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.serialization import deserialize_message
from rosbags.typesys import Stores, get_typestore
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, LaserScan, PointCloud2

from depthrefl_ros.geometry.cloud import write_ply
from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.tools.bag_files import METADATA, named_in_metadata
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
from depthrefl_ros.tools.recorder import (
    DIAGNOSTICS,
    STATIC_TF,
    Channel,
    Figures,
    Recorder,
    points_of,
)
from depthrefl_ros.tools.recording_writer import RecordingWriter
from depthrefl_ros.tools.recordings import base_topic
from depthrefl_ros.tools.ros_node import ros_namespace, ros_topic, tool_node
from depthrefl_ros.tools.source_mounts import MountAction
from depthrefl_ros.tools.truth_clouds import quaternion

LISTENING = "record: listening to all results"
ENGINE = "record: the node is"
OBSTACLES = {"points/marking": PointCloud2, "points/clearing": PointCloud2, "scan": LaserScan}
CLOUD = "cloud.ply"
POLL_S = 0.1  # how often the graph is looked at for topics that were not there yet
DRAIN_S = 0.5  # for the rest of the last frame
SETTLED_WITHIN_S = 3.0  # for the node's figures of it, which come once a second


def main(argv: list[str] | None = None) -> int:
    """Run the command; see ``depthrefl record --help``."""
    return run_tool(_parser(), argv, _run)


def _parser() -> argparse.ArgumentParser:
    parser = make_parser(
        "depthrefl record",
        "Record the node's results: an MCAP file that Foxglove and 'ros2 bag play' open, every "
        "n-th preview as PNG, and the last cloud as PLY. Ctrl-C stops it cleanly. Existing files "
        "are not replaced.",
        """depthrefl record --output drive1
        depthrefl record --frames 100 --points-every 1 --json figures.json
        depthrefl record --namespace /front --image-topic /front/image_raw --seconds 20""",
    )
    parser.add_argument(
        "--output", type=Path, default=Path("recording"), help="output folder (default %(default)s)"
    )
    parser.add_argument(
        "--name", default="recording", help="name of the MCAP file (default %(default)s)"
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace an earlier recording of this name"
    )
    parser.add_argument(
        "--namespace",
        type=ros_namespace,
        default="/",
        help="namespace of the node (default %(default)s)",
    )
    parser.add_argument(
        "--image-topic",
        type=ros_topic,
        default="/camera/image_raw",
        help="the camera's images, raw or .../compressed, recorded as well; '' for none "
        "(default %(default)s)",
    )
    parser.add_argument(
        "--frames", type=positive_int, metavar="N", help="stop after N depth images"
    )
    parser.add_argument(
        "--seconds", type=positive_float, metavar="S", help="stop S seconds after the first one"
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
    parser.add_argument("--no-points", action="store_true", help="record no points")
    parser.add_argument(
        "--no-obstacles",
        action="store_true",
        help="record no points/marking, points/clearing and scan",
    )
    parser.add_argument(
        "--max-gigabytes",
        type=positive_float,
        metavar="GB",
        help="stop cleanly when the file is this large",
    )
    parser.add_argument(
        "--wait-for-engine",
        action="store_true",
        help="do not subscribe to the camera until the node's engine is open; report its progress",
    )
    parser.add_argument(
        "--mount",
        action=MountAction,
        nargs=3,
        metavar=("HEIGHT", "PITCH", "ROLL"),
        help="camera pose, metres above the floor and degrees: written as /tf_static",
    )
    parser.add_argument(
        "--base-frame",
        default="base_footprint",
        help="frame on the floor for --mount (default %(default)s)",
    )
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
    if not args.no_obstacles:
        for name, kind in OBSTACLES.items():
            channels.append(Channel(f"{prefix}/{name}", kind, is_needed=False))
    if not args.mount and (kind := _transform_kind()):
        channels.append(Channel(STATIC_TF, kind, is_needed=False))
    if args.image_topic:
        channels += _camera_channels(args.image_topic, jpeg, channels)
    return channels


def _camera_channels(image_topic: str, jpeg: bool, of_node: list[Channel]) -> list[Channel]:
    """Return the camera's channels.

    Raises:
        ToolError: the images' topic, or the one that they are stored on, is one of the node.
    """
    raw_topic = base_topic(image_topic)
    is_raw = raw_topic == image_topic
    images = Channel(
        image_topic,
        Image if is_raw else CompressedImage,
        as_jpeg=jpeg and is_raw,
        is_result=False,
        option="--image-topic",
    )
    taken = {_full(name) for one in of_node for name in (one.topic, one.stored_topic)}
    if (
        taken & {_full(images.topic), _full(images.stored_topic)}
        or _full(image_topic) == DIAGNOSTICS
    ):
        raise ToolError(
            f"--image-topic {image_topic} is a topic of the node, which is recorded anyway; give "
            "the camera's, or '' for none"
        )
    info_topic = raw_topic.rpartition("/")[0] + "/camera_info"
    if _full(info_topic) in (*taken, _full(image_topic)):
        return [images]
    return [images, Channel(info_topic, CameraInfo, is_result=False)]


def _full(topic: str) -> str:
    return "/" + topic.lstrip("/")


def _transform_kind() -> type | None:
    """Return the message of /tf_static; None where tf2 is not installed."""
    try:
        from tf2_msgs.msg import TFMessage
    except ImportError:
        return None
    return TFMessage


def _run(args: argparse.Namespace, ros_args: list[str]) -> None:
    if not args.name or args.name.startswith(".") or Path(args.name).name != args.name:
        raise ToolError(
            f"--name {args.name!r} is no file name (no /, no dot at its beginning); folders "
            "go into --output"
        )
    channels = _channels(args)
    path = args.output / f"{args.name}.mcap"
    _check_files(path, args.overwrite)
    with ExitStack() as stack:
        stop = stack.enter_context(StopRequest())
        node = stack.enter_context(tool_node("record", ros_args))
        writer = RecordingWriter(path)
        stack.callback(writer.discard)
        pictures = (args.output, args.pictures_every)
        recorder = Recorder(node, channels, writer, pictures, args.wait_for_engine)
        try:
            _listen(node, recorder, args, stop)
        finally:
            # What was received is written also where something went wrong in the end.
            if recorder.figures.stamps_ns:
                writer.close()
        if not recorder.figures.stamps_ns:
            raise ToolError(f"{recorder.channels[0].topic}: no depth image came before the stop")
        if missing := recorder.words_of_missing_images():
            print(f"record: warning: {missing}", flush=True)
    figures = recorder.figures.as_dict()
    figures["not_encoded"] = writer.not_encoded
    if writer.not_encoded:
        print(f"record: {writer.not_encoded} pictures were left out: {writer.encode_error}")
    figures["topics"] = {
        channel.topic: channel.count for channel in recorder.channels if channel.count
    }
    figures["files"] = [str(path), *_write_cloud(recorder, args.output / CLOUD)]
    write_json(args.json, figures)
    for file in figures["files"]:
        print(f"record: {file}", flush=True)


def _check_files(path: Path, overwrite: bool) -> None:
    """Make sure that nothing is replaced that an earlier recording of this name did not make.

    Raises:
        ToolError: names the file that would be.
    """
    folder = path.parent
    pictures = sorted(folder.glob("preview_*.png")) if folder.is_dir() else []
    existing = [
        file for file in (path, folder / METADATA, folder / CLOUD, *pictures) if file.exists()
    ]
    if existing and not overwrite:
        raise ToolError(f"{existing[0]}: exists; choose another --output or give --overwrite")
    if existing and [file.name for file in named_in_metadata(folder)] != [path.name]:
        raise ToolError(
            f"{existing[0]}: is not of an earlier recording {path.name}, and is not replaced; "
            "choose another --output"
        )


def _listen(node: Node, recorder: Recorder, args: argparse.Namespace, stop: StopRequest) -> None:
    """Receive until enough has come, then what is still on its way."""
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    depth, figures = recorder.channels[0], recorder.figures
    awaited_s, next_poll_s, is_ready, told = time.monotonic(), 0.0, False, ""
    first_s: float | None = None
    with progress(args.frames, "recording", "frames") as bar:
        while not stop and not (args.frames and depth.count >= args.frames):
            now = time.monotonic()
            if now >= next_poll_s:
                next_poll_s = now + POLL_S
                recorder.subscribe_to_new_topics()
                if not is_ready:
                    is_ready = recorder.is_ready
                    if is_ready:
                        print(LISTENING, flush=True)
                    elif args.wait_for_engine and figures.engine_is_coming:
                        awaited_s, told = now, _tell_engine(figures, told)
                if args.max_gigabytes and recorder.size_bytes > args.max_gigabytes * 1e9:
                    print(f"record: {args.max_gigabytes:g} GB are written: ending", flush=True)
                    break
            if depth.count == 0 and now - awaited_s > args.wait:
                raise ToolError(_nothing_came(node, depth.topic, args.wait))
            if depth.count and first_s is None:
                first_s = now
                if args.mount:
                    frame_id = deserialize_message(depth.last, Image).header.frame_id
                    height, pitch, roll = args.mount
                    pose = Pose.from_mount(height, math.radians(pitch), math.radians(roll))
                    transforms = mount_transforms(pose, args.base_frame, frame_id)
                    recorder.write_static_transforms(transforms)
            if args.seconds and first_s is not None and now - first_s > args.seconds:
                break
            executor.spin_once(timeout_sec=POLL_S)
            recorder.check()
            bar.update(depth.count - bar.n)
    _drain(recorder, executor)
    executor.shutdown()


def _drain(recorder: Recorder, executor: SingleThreadedExecutor) -> None:
    """Receive the rest of the last frame, and what the node says of it."""
    recorder.finish_frame()
    figures, ended_s = recorder.figures, time.monotonic()
    while (passed_s := time.monotonic() - ended_s) < SETTLED_WITHIN_S:
        is_told = not figures.diagnostics or (figures.told_s > ended_s and figures.are_settled)
        if passed_s > DRAIN_S and is_told:
            break
        executor.spin_once(timeout_sec=POLL_S)
        recorder.check()


def _tell_engine(figures: Figures, told: str) -> str:
    """Print what the node does for its engine, once a state; returns what was printed."""
    doing = figures.diagnostics["engine"]
    percent = re.search(r"(\d+) ?%", doing)
    text = f"building the engine, {percent.group(1)} %" if percent else "opening the engine"
    if text != told:
        print(f"{ENGINE} {text}", flush=True)
    return text


def mount_transforms(base_from_camera: Pose, base_frame: str, frame_id: str) -> bytes:
    """Return where a camera stands, now, as a TFMessage in CDR; tf2 need not be installed."""
    store = get_typestore(Stores.LATEST)
    kinds = store.types
    seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    transform = kinds["geometry_msgs/msg/TransformStamped"](
        kinds["std_msgs/msg/Header"](
            kinds["builtin_interfaces/msg/Time"](seconds, nanoseconds), base_frame
        ),
        frame_id,
        kinds["geometry_msgs/msg/Transform"](
            kinds["geometry_msgs/msg/Vector3"](*map(float, base_from_camera.translation)),
            kinds["geometry_msgs/msg/Quaternion"](
                *map(float, quaternion(base_from_camera.rotation))
            ),
        ),
    )
    message = kinds["tf2_msgs/msg/TFMessage"]([transform])
    return bytes(store.serialize_cdr(message, "tf2_msgs/msg/TFMessage"))


def _nothing_came(node: Node, topic: str, seconds: float) -> str:
    publishers = node.count_publishers(topic)
    hint = "is its camera running?" if publishers else "is the node running and active?"
    return f"{topic}: no depth image within {seconds:g} s, {publishers} publishers; {hint}"


def _write_cloud(recorder: Recorder, path: Path) -> list[str]:
    """Write the last cloud, if one came; returns the file."""
    for channel in recorder.channels:
        if channel.topic.endswith("/points") and channel.count:
            write_ply(path, points_of(deserialize_message(channel.last, PointCloud2)))
            return [str(path)]
    return []


if __name__ == "__main__":
    raise SystemExit(main())
