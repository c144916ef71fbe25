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

"""``annotate``: a recording written anew, with the depth of every camera in it; no ROS."""

from __future__ import annotations

import argparse
import copy
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.typesys import Stores, get_typestore

from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.tools.bag_copy import copy_of
from depthrefl_ros.tools.camera_info_file import CameraInfoError, Intrinsics, add_camera_arguments
from depthrefl_ros.tools.command_line import (
    StopRequest,
    ToolError,
    UnreadableError,
    add_model_arguments,
    make_parser,
    progress,
    run_tool,
)
from depthrefl_ros.tools.predict import estimate, open_estimator, open_mounts, to_millimetres
from depthrefl_ros.tools.recording_source import RecordingSource
from depthrefl_ros.tools.recordings import (
    INFO_TYPE,
    Recording,
    base_topic,
    is_other_light,
    picture_size,
    stamp_ns,
)
from depthrefl_ros.tools.source_frame import camera_info_of
from depthrefl_ros.tools.source_mounts import add_base_frame_argument, add_mount_arguments

IMAGE_TYPE = "sensor_msgs/msg/Image"
FORMATS = {"32FC1": np.float32, "16UC1": np.uint16}
_STORE = get_typestore(Stores.LATEST)


@dataclass
class AnnotatedCamera:
    """One camera of the recording and where its depth goes.

    Attributes:
        source: makes frames of its images.
        info: the newest CameraInfo; None where the user's word counts.
        depth_topic: of the depth images.
        depth_info_topic: of their CameraInfo.
        frames: images with depth so far.
        mount: that the model was told with the last of them, or None.
    """

    source: RecordingSource
    info: Any | None
    depth_topic: str
    depth_info_topic: str
    frames: int = 0
    mount: Pose | None = None


def main(argv: list[str] | None = None) -> int:
    """Run the command; see ``depthrefl annotate --help``."""
    return run_tool(_parser(), argv, _run)


def _parser() -> argparse.ArgumentParser:
    parser = make_parser(
        "depthrefl annotate",
        "Copy a recording and add the depth of every colour camera in it, without ROS: "
        "depth/image and depth/camera_info beside each camera's topics, with the stamps of its "
        "images. Everything else is copied unchanged.",
        """depthrefl annotate drive.mcap drive_depth.mcap
        depthrefl annotate rosbag2_folder/ rosbag2_with_depth/
        depthrefl annotate drive.mcap out.mcap --image-topic /front/image_raw --hfov 70""",
    )
    parser.add_argument("input", type=Path, help="MCAP file, .db3 file or rosbag2 folder")
    parser.add_argument(
        "output", type=Path, help="recording to write: a file if it ends in .mcap, else a folder"
    )
    parser.add_argument(
        "--image-topic",
        action="append",
        metavar="TOPIC",
        help="only this camera; may be given several times",
    )
    add_camera_arguments(parser, note=", instead of the recorded camera info")
    add_mount_arguments(parser, "for models that take the mount, instead of the recorded TF")
    add_base_frame_argument(parser)
    parser.add_argument(
        "--format",
        choices=FORMATS,
        default="32FC1",
        help="32FC1: metres; 16UC1: millimetres in half the space (default %(default)s)",
    )
    add_model_arguments(parser)
    return parser


def _run(args: argparse.Namespace, _ros_args: list[str]) -> None:
    started_s = time.monotonic()
    intrinsics = Intrinsics.of(args)
    with Recording(args.input) as recording:
        cameras = find_cameras(recording, intrinsics, args.image_topic)
        types = dict(recording.topics)
        total = sum(recording.count(topic) for topic in cameras)
        _say(_what_is_added(recording, cameras, args.format))
    with StopRequest() as stop, copy_of(args.input, args.output) as target:
        estimator = open_estimator(args.model, args.engine)
        mounts = open_mounts(args, estimator, args.input, _say)
        for camera in cameras.values():
            target.add_topic(camera.depth_topic, IMAGE_TYPE)
            target.add_topic(camera.depth_info_topic, INFO_TYPE)
        by_info = {camera.source.info_topic: camera for camera in cameras.values()}
        with progress(total, "estimating", "images") as bar:
            for topic, time_ns, data in target.messages():
                if stop:
                    raise ToolError(f"stopped; {args.output} was not written")
                if topic in by_info:
                    by_info[topic].info = _STORE.deserialize_cdr(data, types[topic])
                if topic in cameras:
                    message = _STORE.deserialize_cdr(data, types[topic])
                    camera, header = cameras[topic], message.header
                    mount = mounts.at(header.frame_id, stamp_ns(message))
                    found = (camera, message, time_ns, estimator, args.format, mount)
                    for out in annotated(*found):
                        target.write(*out)
                    bar.update()
        if not any(camera.frames for camera in cameras.values()):
            sources = [camera.source for camera in cameras.values()]
            reason = next((one.first_reason() for one in sources if one.skipped), "")
            raise ToolError(f"{args.input}: none of {total} images can be used{reason}")
        target.complete()
    line = {
        "input": str(args.input),
        "output": str(args.output),
        "cameras": {
            topic: {
                "depth": camera.depth_topic,
                "frames": camera.frames,
                "left_out": len(camera.source.skipped),
                "mount": camera.mount and camera.mount.mount_in_words(),
            }
            for topic, camera in cameras.items()
        },
        "seconds": round(time.monotonic() - started_s, 1),
    }
    print(json.dumps(line), flush=True)


def _what_is_added(recording: Recording, cameras: dict[str, AnnotatedCamera], encoding: str) -> str:
    added = 0
    for topic in cameras:
        width, height = picture_size(recording.first(topic)) or (0, 0)
        added += recording.count(topic) * width * height * np.dtype(FORMATS[encoding]).itemsize
    return f"adding at most {added / 1e6:.0f} MB of depth of {', '.join(cameras)}"


def find_cameras(
    recording: Recording, intrinsics: Intrinsics, chosen: list[str] | None
) -> dict[str, AnnotatedCamera]:
    """Return the cameras of a recording that get depth, by their image topic.

    Of one camera's image topics (raw, compressed, rectified: the same CameraInfo) the first is
    taken. Cameras of other light, and those of which nothing or nothing true is known, are left
    out and told.

    Args:
        recording: that is open.
        intrinsics: what the user says.
        chosen: image topics; None for all cameras.

    Raises:
        ToolError: no camera is left, a chosen topic is none, or the camera info of one is wrong.
    """
    topics = [recording.image_topic(topic) for topic in chosen or ()] or recording.image_topics()
    if not topics:
        recording.image_topic()  # says what there is instead
    cameras: dict[str, AnnotatedCamera] = {}
    seen: set[str] = set()
    for topic in topics:
        info_topic = recording.camera_info_topic(topic)
        identity = info_topic or base_topic(topic)
        if identity in seen:
            continue
        seen.add(identity)
        if chosen is None and is_other_light(recording, topic):
            _say(f"{topic}: no colour camera; give --image-topic {topic} to use it anyway")
            continue
        if info_topic is None and not intrinsics.are_given:
            _say(f"{topic}: no camera info; give --camera-info FILE or --hfov DEGREES")
            continue
        source = RecordingSource(recording.path, intrinsics, topic)
        info = recording.first(source.info_topic) if source.info_topic else None
        if info is not None:
            try:
                source.check_cameras()
            except CameraInfoError as error:
                if chosen is not None:
                    raise ToolError(str(error)) from error
                _say(str(error))
                continue
        depth_topic, depth_info_topic = _free_topics(recording, topic, cameras)
        cameras[topic] = AnnotatedCamera(source, info, depth_topic, depth_info_topic)
    if not cameras:
        raise ToolError(f"{recording.path}: no camera of which depth can be estimated")
    return cameras


def _say(text: str) -> None:
    print(f"depthrefl annotate: {text}", file=sys.stderr, flush=True)


def _free_topics(
    recording: Recording, image_topic: str, cameras: dict[str, AnnotatedCamera]
) -> tuple[str, str]:
    """Return topics for depth and its CameraInfo beside the camera's that are not taken yet."""
    namespace, name = base_topic(image_topic).rsplit("/", 1)
    taken = set(recording.topics) | {camera.depth_topic for camera in cameras.values()}
    for prefix in (namespace, f"{namespace}/depthrefl", f"{namespace}/{name}/depthrefl"):
        topics = f"{prefix}/depth/image", f"{prefix}/depth/camera_info"
        if not taken & set(topics):
            return topics
    raise ToolError(f"{recording.path}: already contains {topics[0]}")


def annotated(
    camera: AnnotatedCamera,
    message: Any,
    time_ns: int,
    estimator: Any,
    encoding: str,
    mount: Pose | None = None,
) -> list[tuple[str, int, bytes]]:
    """Return topic, time and CDR of CameraInfo and depth of an image; nothing if unreadable.

    Args:
        camera: that took it.
        message: Image or CompressedImage.
        time_ns: of recording.
        estimator: of ``depthrefl_ros.load``.
        encoding: of ``FORMATS``.
        mount: base_from_camera, or None where it is not known.
    """
    number = camera.frames + len(camera.source.skipped)
    frame = camera.source.frame(message, camera.info, str(number), time_ns)
    if frame is None:
        return []
    try:
        topic = camera.source.image_topic
        result = estimate(estimator, frame, frame.camera, topic, base_from_camera=mount)
    except UnreadableError as error:
        camera.source.skip(f"{camera.source.name}: frame {number}: {error}")
        return []
    camera.frames += 1
    camera.mount = mount
    info = copy.copy(camera_info_of(result.camera))
    info.header = message.header
    depth = result.depth if encoding == "32FC1" else to_millimetres(result.depth)
    depth = np.ascontiguousarray(depth, np.dtype(FORMATS[encoding]).newbyteorder("<"))
    image = _STORE.types[IMAGE_TYPE](
        header=message.header,
        height=depth.shape[0],
        width=depth.shape[1],
        encoding=encoding,
        is_bigendian=0,
        step=depth.strides[0],
        data=depth.view(np.uint8).reshape(-1),
    )
    return [
        (topic, time_ns, bytes(_STORE.serialize_cdr(content, kind)))
        for topic, content, kind in (
            (camera.depth_info_topic, info, INFO_TYPE),
            (camera.depth_topic, image, IMAGE_TYPE),
        )
    ]


if __name__ == "__main__":
    sys.exit(main())
