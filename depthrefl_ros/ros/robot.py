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

"""What the robot knows at the moment of an image: where the camera stands, and true distances.

The robot is looked at once a frame; everything downstream takes what was found as an argument.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time as Stamp
from rclpy.node import Node
from sensor_msgs.msg import Image, Imu, PointCloud2, Range
from std_msgs.msg import Header

from depthrefl_ros.geometry.anchors import RangeReading
from depthrefl_ros.geometry.ground import up_from_acceleration
from depthrefl_ros.geometry.pose import Pose, mount_rotation
from depthrefl_ros.geometry.scale import MOTION, RANGE, REFERENCE_POINTS
from depthrefl_ros.geometry.surround import Surround
from depthrefl_ros.ros.convert.encodings import MessageError
from depthrefl_ros.ros.parameters import MountSettings, Parameters
from depthrefl_ros.ros.sensors import IMU, Sensors, needed_sensors, seconds_of, told
from depthrefl_ros.ros.transforms import TransformError, Transforms, open_tf2_buffer

# Further from the image's stamp than this, a message tells of another moment, seconds.
_SAME_MOMENT_S = 0.3
_OLD_TRANSFORM_S = 5.0  # a link on /tf that holds for longer without a new one may be dead
# The default base frame and what stands in for it where TF does not know it (REP-120).
_FOOTPRINT, _BODY = "base_footprint", "base_link"
_LEVEL_DEG = 3.0  # what leans less is level
# The static transforms arrive within this after the start; until then nothing stands in for TF.
_TF_ARRIVES_S = 1.0


class Robot:
    """Looks at the robot's other sensors and at TF.

    ``take`` and ``follow_anchors`` are the executor's; ``at`` is the worker's.

    Args:
        node: that listens to TF, from now on.
        open_buffer: see ``Transforms``.
    """

    def __init__(self, node: Node, open_buffer: Callable = open_tf2_buffer):
        self._node = node
        self._transforms = Transforms(node, open_buffer)
        self._listens_since_s = time.monotonic()
        self._sensors = Sensors()

    def forget(self) -> None:
        """Forget the past, after a jump of the clock."""
        self._transforms.forget()
        self.forget_messages()

    def forget_messages(self) -> None:
        """Forget what the sensors said."""
        self._sensors.forget()

    def follow_anchors(self, anchors: Sequence[str]) -> None:
        """Forget what the sensors said that these anchors do not need: nobody listens to them."""
        self._sensors.keep_only(needed_sensors(anchors))

    def close(self) -> None:
        """End the listening to TF."""
        self._transforms.close()

    def take(self, topic: str, message: Imu | Range | PointCloud2 | Image) -> None:
        """Store a sensor's message; see ``Sensors.take``."""
        self._sensors.take(topic, message)

    def at(self, header: Header, time_s: float, parameters: Parameters) -> Surround:
        """Look at the robot at the moment of an image. The only look that a frame takes.

        Args:
            header: of the image, its ``frame_id`` as it is published.
            time_s: of the image, seconds; of receipt where the driver sends no stamps.
            parameters: the node's.
        """
        return _Look(self, header, time_s, parameters).surround()

    def moment(self, header: Header) -> Stamp:
        """Return an image's stamp; where the driver sends none, the time is now."""
        return header.stamp if seconds_of(header.stamp) else self._node.get_clock().now().to_msg()

    def reference_depth(
        self, header: Header, size: tuple[int, int], parameters: Parameters
    ) -> np.ndarray | None:
        """Return what a depth camera saw beside an image; see ``Sensors.reference_depth``."""
        header = Header(stamp=self.moment(header), frame_id=header.frame_id)
        return self._sensors.reference_depth(header, size, parameters)

    def odometry(self, header: Header, parameters: Parameters) -> Pose:
        """Return where odometry has the camera when an image was taken.

        Looked for when the network is done, since it often comes a little after the image.

        Args:
            header: of the image, its ``frame_id`` as it is published.
            parameters: the node's. Whoever asks for ``motion`` waits for it; ``auto`` does not.

        Raises:
            TransformError: it is not known; with ``auto`` also where it is only late.
        """
        mount, how = parameters.mount, parameters.correction.scale_correction
        frame = header.frame_id
        if mount.odom_frame in (frame, mount.base_frame):
            raise TransformError(
                f"odom_frame is {mount.odom_frame!r}, which moves with the robot; the frame in "
                "which it drives is needed, such as odom"
            )
        if not seconds_of(header.stamp):
            raise TransformError("images have no stamp")
        deadline_s = time.monotonic() + (mount.transform_timeout_s if how == MOTION else 0.0)
        arguments = mount.odom_frame, frame, header.stamp, deadline_s
        return self._transforms.find(*arguments, may_be_fixed=False)


class _Look:
    """One look at the robot: what was found, and what could not be used."""

    def __init__(self, robot: Robot, header: Header, time_s: float, parameters: Parameters):
        self._robot, self._header, self._time_s = robot, header, time_s
        self._parameters, self._mount = parameters, parameters.mount
        self._moment = robot.moment(header)
        self._base_frame = self._mount.base_frame
        # One for all frames that are looked up: depth waits for the whole look.
        self._deadline_s = time.monotonic() + self._mount.transform_timeout_s
        self._base_from_camera: Pose | None = None
        self._pose_source = self._pose_problem = ""
        self._may_fit_floor, self._awaits_transforms = True, False
        self._problems: dict[str, str] = {}

    def surround(self) -> Surround:
        """Gather everything."""
        self._find_base()
        scan_frame = self._parameters.scan_frame or self._base_frame
        scan_from_camera, scan_problem = self._try_from_camera(scan_frame)
        self._check_level(scan_frame, scan_from_camera)
        sensors = needed_sensors(self._parameters.correction.anchors)
        reading = camera_from_ranger = points = None
        if RANGE in sensors:
            reading, camera_from_ranger = self._isolated(RANGE, self._reading) or (None, None)
        if REFERENCE_POINTS in sensors:
            points = self._isolated(REFERENCE_POINTS, self._reference_points)
        up = self._up(sensors)
        mount, mount_problem = self._told_mount(up)
        return Surround(
            time_s=self._time_s,
            up=up,
            base_from_camera=self._base_from_camera,
            pose_source=self._pose_source,
            pose_problem=self._pose_problem,
            may_fit_floor=self._may_fit_floor,
            mount=mount,
            mount_problem=mount_problem,
            awaits_transforms=self._awaits_transforms,
            base_frame=self._base_frame,
            scan_frame=scan_frame,
            scan_from_camera=scan_from_camera,
            scan_problem=scan_problem,
            reading=reading,
            camera_from_ranger=camera_from_ranger,
            points=points,
            problems=self._problems,
        )

    def _find(self, target: str) -> Pose:
        transforms, source = self._robot._transforms, self._header.frame_id
        found = transforms.find(target, source, self._header.stamp, self._deadline_s)
        held_s = transforms.held_s(target, source)
        if held_s > _OLD_TRANSFORM_S:
            self._problems[f"transform_{target}"] = (
                f"the newest transform from {source!r} to {target!r} is {held_s:.0f} s older than "
                "the image; it never moved, so it is used: check that its publisher still runs, "
                "and publish fixed transforms on /tf_static"
            )
        return found

    def _find_base(self) -> None:
        """Find the camera in the base frame: by TF if it ever answers, else by the parameters."""
        wanted = self._mount.base_frame
        errors = []
        for frame in (_FOOTPRINT, _BODY) if wanted == _FOOTPRINT else (wanted,):
            try:
                self._base_from_camera, self._pose_source = self._find(frame), "TF"
                self._base_frame = frame
                break
            except TransformError as error:
                errors.append(error)
                if error.is_known:
                    break
        if self._base_from_camera is not None:
            if self._base_frame != wanted:
                self._problems["base_frame"] = (
                    f"base_frame is {wanted!r}, which TF does not know; {self._base_frame!r} "
                    "stands in for it: its z = 0 must be the floor, or set base_frame"
                )
            return
        self._pose_problem = str(errors[0])
        if any(error.is_known for error in errors):
            # Once TF has answered, only TF counts: the camera may be anywhere by now.
            self._pose_problem, self._may_fit_floor = str(errors[-1]), False
        elif self._tf_may_still_come():
            self._pose_problem += "; TF is only beginning to arrive"
            self._may_fit_floor, self._awaits_transforms = False, True
        elif self._mount.camera_height_m > 0.0:
            self._base_from_camera, self._pose_source = mount_pose(self._mount), "parameters"
        else:
            self._pose_problem += "; camera_height is not given either"

    def _told_mount(self, up: np.ndarray) -> tuple[Pose | None, str]:
        """Return where the camera stands, as far as it is sure enough for the network; or why not.

        Args:
            up: (3,) in the optical frame; of an IMU it is better than the parameters'.
        """
        pose = self._base_from_camera
        if not self._mount.use_mount:
            return None, "use_mount is off"
        if pose is None:
            return None, self._pose_problem
        if self._base_frame != self._mount.base_frame:
            return None, self._problems["base_frame"]
        height_m = float(pose.translation[2])
        if height_m <= 0.0:
            below = f"{-height_m:.2f} m below" if round(height_m, 2) else "at"
            return None, f"the camera is {below} z = 0 of {self._base_frame!r}"
        return (pose if self._pose_source == "TF" else Pose.over_floor(height_m, up)), ""

    def _tf_may_still_come(self) -> bool:
        robot = self._robot
        is_early = time.monotonic() - robot._listens_since_s < _TF_ARRIVES_S
        return (
            is_early
            and not robot._transforms.missing
            and any(robot._node.count_publishers(topic) for topic in ("/tf", "/tf_static"))
        )

    def _from_camera(self, frame_id: str) -> Pose:
        """Return the camera's optical frame in another frame of the robot.

        Raises:
            TransformError: the frame is unknown. Without TF only the camera's own and the base
                frame are known.
        """
        if frame_id == self._header.frame_id:
            return Pose.identity()
        if frame_id == self._base_frame:  # not what another one stands in for: TF lacks it
            if self._base_from_camera is None:
                raise TransformError(self._pose_problem)
            return self._base_from_camera
        return self._find(frame_id)

    def _try_from_camera(self, frame_id: str) -> tuple[Pose | None, str]:
        try:
            return self._from_camera(frame_id), ""
        except TransformError as error:
            return None, str(error)

    def _check_level(self, scan_frame: str, scan_from_camera: Pose | None) -> None:
        """Tell of a scan frame whose plane is not parallel to the floor."""
        if scan_from_camera is None or self._base_from_camera is None:
            return
        cosine = scan_from_camera.up_in_source @ self._base_from_camera.up_in_source
        tilt_deg = math.degrees(math.acos(min(1.0, max(-1.0, float(cosine)))))
        if tilt_deg > _LEVEL_DEG:
            self._problems["scan_frame"] = (
                f"scan_frame {scan_frame!r} is tilted by {tilt_deg:.0f} degrees against "
                f"{self._base_frame!r}: its ranges are measured along a tilted plane; take a level "
                "frame"
            )

    def _isolated(self, topic: str, read: Callable[[], Any]) -> Any:
        """Return what a sensor says; whatever a bad message raises costs that sensor alone."""
        try:
            return read()
        except Exception as error:
            self._problems[topic] = f"{topic} cannot be used: {told(error)}"
            return None

    def _up(self, sensors: frozenset[str]) -> np.ndarray:
        """Return up (3,) in the optical frame: by TF, else an IMU, else the mount parameters."""
        if self._pose_source == "TF":
            return self._base_from_camera.up_in_source
        measured = self._isolated(IMU, self._up_by_gravity) if IMU in sensors else None
        return mount_pose(self._mount).up_in_source if measured is None else measured

    def _up_by_gravity(self) -> np.ndarray | None:
        theirs, mean, doubt = self._robot._sensors.acceleration()
        up = None if theirs is None else self._up_as_pushed(theirs, mean)
        if doubt:
            self._problems[IMU] = "; ".join(filter(None, (doubt, self._problems.get(IMU))))
        return up

    def _up_as_pushed(self, theirs: Header, mean: np.ndarray) -> np.ndarray | None:
        """Return up (3,) in the optical frame by a mean acceleration (3,) in an IMU's frame."""
        if not self._is_of_moment(IMU, theirs):
            return None
        up = up_from_acceleration(mean)
        if up is None:
            self._problems[IMU] = f"imu reads {mean.round(2).tolist()} m/s2, which is not gravity"
            return None
        pose, problem = self._try_from_camera(theirs.frame_id)
        if pose is None:
            self._problems[IMU] = f"imu cannot tell which way is up: {problem}"
            return None
        return pose.inverse().rotation @ up

    def _reading(self) -> tuple[RangeReading, Pose] | None:
        """Return the ranger's reading since the last look, and where the ranger is."""
        message = self._robot._sensors.pop_range()
        if message is None or not self._is_of_moment(RANGE, message.header):
            return None
        pose = self._sensor_pose(RANGE, message.header)
        if pose is None:
            return None
        limits = (message.min_range, message.max_range)
        return RangeReading(message.range, *limits, message.field_of_view), pose

    def _reference_points(self) -> np.ndarray | None:
        sensors = self._robot._sensors
        cloud = sensors.cloud(self._moment)
        if cloud is None or not self._is_of_moment(REFERENCE_POINTS, cloud.header):
            return None
        pose = self._sensor_pose(REFERENCE_POINTS, cloud.header)
        if pose is None:
            return None
        try:
            return pose.apply(sensors.points_of(cloud))
        except MessageError as error:
            self._problems[REFERENCE_POINTS] = f"reference_points cannot measure the scale: {error}"
            return None

    def _sensor_pose(self, topic: str, header: Header) -> Pose | None:
        """Return camera_from_sensor."""
        pose, problem = self._try_from_camera(header.frame_id)
        if pose is None:
            self._problems[topic] = f"{topic} cannot measure the scale: {problem}"
            return None
        return pose.inverse()

    def _is_of_moment(self, topic: str, theirs: Header) -> bool:
        ahead_s = seconds_of(theirs.stamp) - seconds_of(self._moment)
        if abs(ahead_s) <= _SAME_MOMENT_S:
            return True
        side = "newer" if ahead_s > 0 else "older"
        self._problems[topic] = f"{topic} is {abs(ahead_s):.1f} s {side} than the image: not used"
        return False


@lru_cache(maxsize=4)
def mount_pose(mount: MountSettings) -> Pose:
    """Return base_from_camera as the mount parameters have it; height 0 is unknown."""
    angles = mount.camera_pitch_deg, mount.camera_roll_deg
    return Pose(mount_rotation(*map(math.radians, angles)), np.array([0, 0, mount.camera_height_m]))
