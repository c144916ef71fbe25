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

"""How right depth is that ``depthrefl dataset --motion`` takes from a robot's motion alone.

    python benchmark/motion_depth.py test/data/corridor.mcap DRIVE... --json motion_depth.json
    python benchmark/motion_depth.py DRIVE... --recordings recordings/

A drive is a folder that `depthrefl render drive` made, or the shipped recording. Each is written as
the recording that a robot with one camera and odometry makes, in ``--recordings`` to be used for
more; its motion's depth is then held against the exact one, and against the network's on the same
pixels. The robot's true poses stand in for its odometry, each turned by ``--turn-noise`` degrees
about every axis, one standard deviation. A drive that was rendered goes straight ahead; ``--step``
is 0.09 m, and less where its lane is short.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from costmap import Scene, opened, read_drive
from costmap_drive import PERIOD_S, STEP_M, Place, drive_places, wrong_turns
from rosbags.typesys import Stores, get_typestore

from depthrefl_ros.engine.base import EngineError
from depthrefl_ros.engine.bundle import BundleError
from depthrefl_ros.estimator import DepthEstimator
from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.gates import GateSettings
from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.geometry.rectification import reprojected
from depthrefl_ros.tools.command_line import (
    ToolError,
    add_json_argument,
    make_parser,
    run_tool,
    write_json,
)
from depthrefl_ros.tools.motion_drive import MotionDrive
from depthrefl_ros.tools.recorded_drive import DriveSettings
from depthrefl_ros.tools.recording_writer import RecordingWriter
from depthrefl_ros.tools.source_frame import camera_info_of
from depthrefl_ros.tools.truth_clouds import quaternion

FAR_M = 4.0
FIRST_NS = 1_700_000_000_000_000_000
FRAME = "camera_optical_frame"
TF_TYPE = "tf2_msgs/msg/TFMessage"
TOPICS = {
    "/tf": TF_TYPE,
    "/camera/camera_info": "sensor_msgs/msg/CameraInfo",
    "/camera/image_raw": "sensor_msgs/msg/Image",
}
STORE = get_typestore(Stores.LATEST)


@dataclass(frozen=True, eq=False)
class RobotImage:
    """An image of a robot's camera, and where both were.

    Attributes:
        rgb: (H, W, 3) uint8.
        camera: of it.
        base_from_camera: the mount; the base frame's z = 0 is the floor.
        odom_from_base: by odometry; None where there is none.
    """

    rgb: np.ndarray
    camera: Camera
    base_from_camera: Pose
    odom_from_base: Pose | None


def write_recording(path: Path, images: Iterable[RobotImage], base: str = "base_footprint") -> None:
    """Write what a robot records: images 0.1 s apart, camera info and /tf.

    Args:
        path: of the MCAP file.
        images: in their order.
        base: name of the base frame.
    """
    writer = RecordingWriter(path)
    for topic, kind in TOPICS.items():
        writer.add_topic(topic, kind, is_latched=False)
    for number, image in enumerate(images):
        now_ns = FIRST_NS + round(number * PERIOD_S * 1e9)
        poses = [(base, FRAME, image.base_from_camera)]
        if image.odom_from_base is not None:
            poses.append(("odom", base, image.odom_from_base))
        info = camera_info_of(image.camera)
        info.header = _header(FRAME, now_ns)
        writer.write("/tf", now_ns, transforms_message(poses, now_ns))
        for topic, message in (
            ("/camera/camera_info", info),
            ("/camera/image_raw", _image(image.rgb, now_ns)),
        ):
            writer.write(topic, now_ns, bytes(STORE.serialize_cdr(message, TOPICS[topic])))
    writer.close()


def _header(frame: str, time_ns: int) -> object:
    kinds = STORE.types
    stamp = kinds["builtin_interfaces/msg/Time"](*divmod(time_ns, 10**9))
    return kinds["std_msgs/msg/Header"](stamp, frame)


def _image(rgb: np.ndarray, time_ns: int) -> object:
    height, width = rgb.shape[:2]
    kind = STORE.types[TOPICS["/camera/image_raw"]]
    data = np.ascontiguousarray(rgb).reshape(-1)
    return kind(_header(FRAME, time_ns), height, width, "rgb8", 0, 3 * width, data)


def transforms_message(poses: list[tuple[str, str, Pose]], time_ns: int) -> bytes:
    """Return /tf's serialised message of (parent, child, parent_from_child)."""
    kinds, stamped = STORE.types, []
    for parent, child, pose in poses:
        shift = kinds["geometry_msgs/msg/Vector3"](*map(float, pose.translation))
        turn = kinds["geometry_msgs/msg/Quaternion"](*map(float, quaternion(pose.rotation)))
        transform = kinds["geometry_msgs/msg/Transform"](shift, turn)
        header = _header(parent, time_ns)
        stamped.append(kinds["geometry_msgs/msg/TransformStamped"](header, child, transform))
    return bytes(STORE.serialize_cdr(kinds[TF_TYPE](stamped), TF_TYPE))


def robot_images(
    scenes: list[Scene], places: list[Place], turn_noise_deg: float
) -> list[RobotImage]:
    """Return the images of a drive, whose odometry turns wrongly by so many degrees."""
    turns, images = wrong_turns(len(scenes), turn_noise_deg), []
    for scene, place, turn in zip(scenes, places, turns, strict=True):
        rgb = cv2.cvtColor(scene.image_bgr, cv2.COLOR_BGR2RGB)
        images.append(RobotImage(rgb, scene.camera, scene.base_from_camera, place.pose @ turn))
    return images


def compared(
    scenes: list[Scene], recording: Path, estimator: DepthEstimator
) -> dict[str, float | int]:
    """Return how right the depth of a recording is, all images alike, within the model's range.

    ``known`` is the share of pixels with depth by motion, ``motion`` its AbsRel, ``network`` the
    network's on the same pixels, ``everywhere`` the network's on all; ``far_motion`` and
    ``far_network`` are the median ratios to true depth beyond ``FAR_M``, on the same pixels.
    """
    rows, ratios = [], []
    drive = MotionDrive(recording, DriveSettings(), estimator)
    for name, sample, _ in drive.samples(lambda _done: None):
        scene = scenes[int(name)]
        predicted = reprojected(scene.depth_m, scene.network_camera, scene.camera)
        true_m = scene.truth_m
        both = (true_m > 0) & (true_m < estimator.bundle.max_range_m) & np.isfinite(predicted)
        known = both & (sample.depth_m > 0)
        errors = [
            np.abs(depth_m[where] / true_m[where] - 1.0).mean()
            for depth_m, where in ((sample.depth_m, known), (predicted, known), (predicted, both))
        ]
        rows.append([known.sum() / both.sum(), *errors])
        far = known & (true_m > FAR_M)
        ratios.append(np.stack([sample.depth_m[far], predicted[far]], 1) / true_m[far, None])
    if not rows:
        raise ToolError(f"{recording}: {drive.told()}")
    names = ("known", "motion", "network", "everywhere", "far_motion", "far_network")
    far = np.concatenate(ratios)
    medians = np.median(far, axis=0) if len(far) else [float("nan")] * 2
    figures = dict(zip(names, map(float, (*np.mean(rows, axis=0), *medians)), strict=True))
    return {"images": len(rows), **figures}


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; see ``--help``."""
    return run_tool(_parser(), argv, _run)


def _parser() -> argparse.ArgumentParser:
    parser = make_parser(
        "motion_depth",
        "Errors of depth by a robot's motion, and of the network's on the same pixels.",
        "python benchmark/motion_depth.py test/data/corridor.mcap --json motion_depth.json",
    )
    add = parser.add_argument
    add("drives", nargs="+", metavar="DRIVE", help="a rendered drive, or the shipped recording")
    add("--model", default="indoor_tiny", help="default %(default)s")
    add("--engine", default="openvino", help="default %(default)s")
    add("--step", type=float, default=STEP_M, help="metres between frames (%(default)s)")
    add("--turn-noise", type=float, default=0.3, metavar="DEG", help="default %(default)s")
    add("--recordings", type=Path, metavar="FOLDER", help="keep the recordings here")
    add_json_argument(parser, "the figures")
    return parser


def _run(args: argparse.Namespace, _ros_args: list[str]) -> None:
    try:
        _, estimator, _ = opened(args.model, args.engine, GateSettings())
    except (BundleError, EngineError, ValueError) as error:
        raise ToolError(str(error)) from error
    print("drive: images kept; pixels known; AbsRel by motion, by the network there, and")
    print(f"everywhere; median ratio beyond {FAR_M:g} m by motion, and by the network there")
    found = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.recordings or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for drive in args.drives:
            scenes = list(read_drive(drive, estimator))
            places = drive_places(drive, len(scenes), args.step)
            name = Path(drive).stem
            (folder / name).mkdir(exist_ok=True)
            recording = folder / name / f"{name}.mcap"
            write_recording(recording, robot_images(scenes, places, args.turn_noise))
            one = found[drive] = compared(scenes, recording, estimator)
            print(
                f"{drive}: {one['images']}; {one['known']:.0%}; {one['motion']:.3f}, "
                f"{one['network']:.3f}, {one['everywhere']:.3f}; {one['far_motion']:.2f}, "
                f"{one['far_network']:.2f}",
                flush=True,
            )
    write_json(args.json, found)


if __name__ == "__main__":
    raise SystemExit(main())
