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

"""Publishes a recording's true depth through our gates and clouds, instead of the network's.

What a costmap does with it shows what gates, clouds and the costmap's own settings do, without the
errors of a model. The camera's mount goes out on /tf_static where tf2 is installed.
"""

from __future__ import annotations

import argparse
import itertools
import math
import sys

import numpy as np
from builtin_interfaces.msg import Time
from rclpy.node import Node
from sensor_msgs.msg import PointCloud2

from depthrefl_ros.engine.bundle import Bundle, BundleError
from depthrefl_ros.geometry.camera import Camera, CameraError
from depthrefl_ros.geometry.gates import GateSettings, apply_gates
from depthrefl_ros.geometry.obstacles import ObstaclePoints, ObstacleSettings, obstacle_clouds
from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.geometry.rectification import Rectification, reprojected
from depthrefl_ros.ros.convert.camera_info import camera_from_info, info_key
from depthrefl_ros.ros.convert.clouds import cloud_message
from depthrefl_ros.ros.convert.images import MessageError
from depthrefl_ros.ros.obstacle_publisher import FIELDS
from depthrefl_ros.ros.publishers import publisher_overrides, publisher_profile
from depthrefl_ros.tools.camera_info_file import Intrinsics
from depthrefl_ros.tools.camera_source import Schedule
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
from depthrefl_ros.tools.frame_sources import open_source
from depthrefl_ros.tools.ros_node import tool_node
from depthrefl_ros.tools.source_mounts import add_angle_arguments, said_mount
from depthrefl_ros.tools.truth import find_truth

SIGMA = 0.02  # of log depth: what the network says where it is surest


class TruthClouds:
    """The marking and clearing clouds of true depth, at the size that the network has.

    Args:
        camera: of the true depth, rectified.
        size: (width, height) of the network's input, pixels.
        gates: as the node's.
        base_from_camera: the mount; the base frame's z = 0 is the floor.

    Raises:
        ToolError: the camera is distorted; true depth belongs to a pinhole.
    """

    def __init__(
        self, camera: Camera, size: tuple[int, int], gates: GateSettings, base_from_camera: Pose
    ):
        if camera.is_distorted:
            raise ToolError(f"distortion is {camera.D.tolist()}; true depth needs a rectified one")
        way = Rectification(camera, True, size)
        small = way.network_camera
        self._camera, self._small = camera, small
        self._padding = way.network_unseen()
        self._gates, self._base_from_camera = gates, base_from_camera
        self._sigma = np.full((small.height, small.width), SIGMA, np.float32)

    def build(self, truth_m: np.ndarray) -> ObstaclePoints:
        """Return the clouds of one frame.

        Args:
            truth_m: (H, W) float32 metres; NaN and 0 are unknown.
        """
        depth = reprojected(truth_m, self._camera, self._small)
        depth[~(depth > 0)] = np.nan
        if self._padding is not None:
            depth[self._padding] = np.nan
        gated = apply_gates(depth, self._sigma, self._small, math.inf, self._gates)
        return obstacle_clouds(
            gated.depth_m,
            gated.smoothed_m,
            self._sigma,
            np.ones_like(self._sigma),
            self._small,
            self._base_from_camera,
            ObstacleSettings(),
            self._gates,
        )


def main(argv: list[str] | None = None) -> int:
    """Run the command; see ``depthrefl truth_clouds --help``."""
    return run_tool(_parser(), argv, _run)


def _parser() -> argparse.ArgumentParser:
    parser = make_parser(
        "depthrefl truth_clouds",
        "Publish points/marking and points/clearing made of a source's true depth.",
        """
        depthrefl truth_clouds test/data/corridor.mcap --camera-height 0.5 --camera-pitch 4 --loop
        depthrefl truth_clouds drive.mcap --camera-height 0.4 --odom-frame odom""",
    )
    parser.add_argument("source", help="recording or image folder with true depth")
    parser.add_argument(
        "--camera-height",
        type=positive_float,
        required=True,
        metavar="M",
        help="camera height above the floor",
    )
    add_angle_arguments(parser)
    parser.add_argument(
        "--model", default="indoor_tiny", help="model that gives size and range (%(default)s)"
    )
    parser.add_argument(
        "--base-frame", default="base_footprint", help="frame on the floor (default %(default)s)"
    )
    parser.add_argument(
        "--odom-frame", help="also publish this frame, in which the robot stands still"
    )
    parser.add_argument(
        "--rate", type=positive_float, metavar="HZ", help="frame rate (default: the source's)"
    )
    parser.add_argument("--loop", action="store_true", help="start again at the end")
    parser.add_argument("--frames", type=positive_int, metavar="N", help="stop after N frames")
    add_json_argument(parser, "frames and points")
    return parser


def _run(args: argparse.Namespace, ros_args: list[str]) -> None:
    source, truth = open_source(args.source, Intrinsics(None, None)), find_truth(args.source)
    if truth is None:
        raise ToolError(
            f"{args.source}: no true depth; it is a topic .../depth_truth of a recording or a "
            "folder depth/ beside rgb/"
        )
    try:
        bundle = Bundle.load(args.model)
    except BundleError as error:
        raise ToolError(str(error)) from error
    gates = GateSettings(min_range_m=bundle.min_range_m, max_range_m=bundle.max_range_m)
    mount = said_mount(args)
    builders: dict[tuple, TruthClouds] = {}
    counts = {"frames": 0, "marking": 0, "clearing": 0}
    with StopRequest() as stop, tool_node("truth_clouds", ros_args) as node:
        publisher = CloudPublisher(node)
        schedule = Schedule(source.rate_hz, args.rate)
        passes = itertools.repeat(None) if args.loop else [None]
        for frame in itertools.islice((f for _ in passes for f in source.frames()), args.frames):
            if schedule.wait(stop, frame.time_ns):
                break
            depth = truth.depth_m({"source_stamp_ns": frame.stamp_ns, "name": frame.name})
            if depth is None:
                continue
            key = (info_key(frame.camera_info), depth.shape)
            if key not in builders:
                camera = _camera(frame.camera_info, depth, args.source)
                builders[key] = TruthClouds(camera, (bundle.width, bundle.height), gates, mount)
            if not counts["frames"]:
                _mount_on_tf = publish_mount(  # published for as long as it lives
                    node, mount, args.base_frame, frame.frame_id, args.odom_frame
                )
            points = builders[key].build(depth)
            publisher.publish(points, frame.frame_id)
            counts["frames"] += 1
            counts["marking"] += len(points.marking)
            counts["clearing"] += len(points.clearing)
    if not counts["frames"] and not stop:
        raise ToolError(f"{args.source}: none of its images has a true depth of the same stamp")
    print("truth_clouds: {frames} frames, {marking} marking, {clearing} clearing".format(**counts))
    write_json(args.json, {"source": args.source, **counts})


def _camera(info, depth_m: np.ndarray, source: str) -> Camera:
    """Return the camera of a true depth map.

    Raises:
        ToolError: the CameraInfo cannot be true, or not of this depth.
    """
    height, width = depth_m.shape
    try:
        return camera_from_info(info, source).for_image(width, height)
    except MessageError as error:
        raise ToolError(str(error)) from error
    except CameraError as error:
        raise ToolError(f"{source}: {error}") from error


class CloudPublisher:
    """Publishes both clouds as the node does, with the present time.

    Args:
        node: on whose topics.
    """

    def __init__(self, node: Node):
        self._clock = node.get_clock()
        self._publishers = {
            name: node.create_publisher(
                PointCloud2,
                f"points/{name}",
                publisher_profile(),
                qos_overriding_options=publisher_overrides(),
            )
            for name in ("clearing", "marking")
        }

    def publish(self, points: ObstaclePoints, frame_id: str) -> None:
        """Publish one frame's clouds, in the optical frame."""
        stamp: Time = self._clock.now().to_msg()
        for name, publisher in self._publishers.items():
            message = cloud_message(getattr(points, name), FIELDS)
            message.header.stamp, message.header.frame_id = stamp, frame_id
            publisher.publish(message)


def publish_mount(
    node: Node, base_from_camera: Pose, base_frame: str, optical_frame: str, odom_frame: str | None
) -> object | None:
    """Put the mount, and a robot that stands still in `odom_frame`, on /tf_static.

    Returns:
        The broadcaster; None where tf2 is not installed, which is told on stderr.
    """
    try:
        from geometry_msgs.msg import TransformStamped
        from tf2_ros import StaticTransformBroadcaster
    except ImportError:
        print(f"truth_clouds: no tf2: no transform to {optical_frame} is sent", file=sys.stderr)
        return None
    poses = {(base_frame, optical_frame): base_from_camera}
    if odom_frame:
        poses[(odom_frame, base_frame)] = Pose.identity()
    messages = []
    for (parent, child), pose in poses.items():
        message = TransformStamped()
        message.header.stamp = node.get_clock().now().to_msg()
        message.header.frame_id, message.child_frame_id = parent, child
        for axis, metres in zip("xyz", pose.translation, strict=True):
            setattr(message.transform.translation, axis, float(metres))
        for axis, value in zip("xyzw", quaternion(pose.rotation), strict=True):
            setattr(message.transform.rotation, axis, float(value))
        messages.append(message)
    broadcaster = StaticTransformBroadcaster(node)
    broadcaster.sendTransform(messages)
    return broadcaster


def quaternion(rotation: np.ndarray) -> np.ndarray:
    """Return x, y, z, w of a rotation matrix: an eigenvector (Bar-Itzhack 2000).

    It is as exact for half turns as for small ones, where the usual formulas divide by about 0.
    """
    xx, xy, xz, yx, yy, yz, zx, zy, zz = rotation.ravel()
    form = np.array(
        [
            [xx - yy - zz, yx + xy, zx + xz, zy - yz],
            [yx + xy, yy - xx - zz, zy + yz, xz - zx],
            [zx + xz, zy + yz, zz - xx - yy, yx - xy],
            [zy - yz, xz - zx, yx - xy, xx + yy + zz],
        ]
    )
    vector = np.linalg.eigh(form / 3.0)[1][:, -1]
    return vector if vector[3] >= 0 else -vector


if __name__ == "__main__":
    raise SystemExit(main())
