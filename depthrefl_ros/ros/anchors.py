"""What else the robot knows of distances, as it comes in: gravity, a ranger, sparse points."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import numpy as np
from sensor_msgs.msg import Imu, PointCloud2, Range
from std_msgs.msg import Header

from depthrefl_ros.geometry.anchors import (
    RangeReading,
    ReadingWindow,
    ground_anchor,
    points_anchor,
    range_anchor,
)
from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.ground import up_from_acceleration
from depthrefl_ros.ros.convert.clouds import cloud_to_points
from depthrefl_ros.ros.moment import Moment, seconds_of
from depthrefl_ros.ros.mount import Mount
from depthrefl_ros.ros.transforms import TransformError

IMU, RANGE, REFERENCE_POINTS, GROUND = "imu", "range", "reference_points", "ground"
TYPES = {IMU: Imu, RANGE: Range, REFERENCE_POINTS: PointCloud2}
# Further from the image's stamp than this, a message tells of another moment, seconds.
_SAME_MOMENT_S = 0.3
_GRAVITY_READINGS = 50  # averaged: vibration cancels


def needed_topics(scale_correction: str) -> frozenset[str]:
    """The topics of ``TYPES`` that this value of the parameter needs."""
    if scale_correction == "auto":
        return frozenset(TYPES)
    return frozenset({GROUND: {IMU}}.get(scale_correction, {scale_correction}) & TYPES.keys())


class Anchors:
    """Keeps the newest messages and compares them with a predicted depth.

    The callbacks are the executor's and only store; everything else is the worker's.

    Args:
        mount: says where the sensors are.
        complain: told the topic and what is wrong with its message.

    Attributes:
        callbacks: by topic of ``TYPES``.
    """

    def __init__(self, mount: Mount, complain: Callable[[str, str], None]):
        self._mount, self._complain = mount, complain
        self._gravity: deque[Imu] = deque(maxlen=_GRAVITY_READINGS)
        self._range: Range | None = None
        self._cloud: PointCloud2 | None = None
        self._points: tuple[PointCloud2 | None, np.ndarray] = (None, np.zeros((0, 3)))
        self._readings = ReadingWindow()
        self.callbacks = {
            IMU: self._gravity.append,
            RANGE: self._on_range,
            REFERENCE_POINTS: self._on_cloud,
        }

    def reset(self) -> None:
        """Forgets what came, after a backward jump of the clock."""
        self._gravity.clear()
        self._range = self._cloud = None
        self._readings = ReadingWindow()

    def up(self, moment: Moment) -> np.ndarray:
        """(3,) up in the camera's optical frame: by TF, else an IMU, else the mount parameters."""
        try:
            pose = self._mount.camera_pose(moment)
            if pose.source == "TF":
                return pose.base_from_camera.up_in_source
        except TransformError:
            pass  # told by whoever needs the pose itself
        measured = self._up_by_gravity(moment)
        if measured is not None:
            return measured
        return self._mount.pose_by_parameters(moment.parameters).up_in_source

    def log_ratios(
        self, depth_m: np.ndarray, camera: Camera, moment: Moment
    ) -> dict[str, np.ndarray]:
        """What every anchor that can measure finds: ln(true / predicted) of ``depth_m``.

        Args:
            depth_m: (h, w) float32 metres, its scale uncorrected.
            camera: of ``depth_m``.
            moment: of the image.

        Returns:
            (n,) float64 by ``GROUND``, ``RANGE`` and ``REFERENCE_POINTS``, as far as they measure.
        """
        how = moment.parameters.scale_correction
        measures = {
            GROUND: self._measure_ground,
            RANGE: self._measure_range,
            REFERENCE_POINTS: self._measure_points,
        }
        found = {}
        for name, measure in measures.items():
            is_asked_for = how in (name, "auto")
            # The floor needs no sensor: where it can be measured it judges the others.
            if not is_asked_for and name != GROUND:
                continue
            try:
                found[name] = measure(depth_m, camera, moment)
            except (TransformError, ValueError) as error:
                if is_asked_for:
                    self._complain(name, f"{name} cannot measure the scale: {error}")
        return found

    def _measure_ground(self, depth_m: np.ndarray, camera: Camera, moment: Moment) -> np.ndarray:
        height_m = self._mount.camera_pose(moment).base_from_camera.translation[2]
        return ground_anchor(depth_m, camera, self.up(moment), float(height_m))

    def _measure_range(self, depth_m: np.ndarray, camera: Camera, moment: Moment) -> np.ndarray:
        message, self._range = self._range, None
        if message is not None and self._is_of_moment(RANGE, message.header, moment):
            limits = (message.min_range, message.max_range)
            reading = RangeReading(message.range, *limits, message.field_of_view)
            if not reading.is_distance:
                raise ValueError(
                    f"the reading is {message.range:g} m; a distance between min_range "
                    f"{limits[0]:g} m and max_range {limits[1]:g} m is needed"
                )
            pose = self._mount.from_camera(message.header.frame_id, moment).inverse()
            found = range_anchor(depth_m, camera, reading, pose)
            self._readings.add(found, moment.time_s)
        return self._readings.log_ratios(moment.time_s)

    def _measure_points(self, depth_m: np.ndarray, camera: Camera, moment: Moment) -> np.ndarray:
        cloud = self._cloud
        if cloud is None or not self._is_of_moment(REFERENCE_POINTS, cloud.header, moment):
            return np.zeros(0)
        if self._points[0] is not cloud:
            self._points = (cloud, cloud_to_points(cloud, REFERENCE_POINTS))
        pose = self._mount.from_camera(cloud.header.frame_id, moment).inverse()
        return points_anchor(depth_m, camera, pose.apply(self._points[1]))

    def _up_by_gravity(self, moment: Moment) -> np.ndarray | None:
        messages = list(self._gravity)
        if not messages or not self._is_of_moment(IMU, messages[-1].header, moment):
            return None
        readings = [one.linear_acceleration for one in messages]
        mean = np.mean([(one.x, one.y, one.z) for one in readings], axis=0)
        up = up_from_acceleration(mean)
        if up is None:
            self._complain(IMU, f"imu reads {mean.round(2).tolist()} m/s2, which is not gravity")
            return None
        try:
            pose = self._mount.from_camera(messages[-1].header.frame_id, moment).inverse()
        except TransformError as error:
            self._complain(IMU, f"imu cannot tell what is up: {error}")
            return None
        return pose.rotation @ up

    def _is_of_moment(self, topic: str, theirs: Header, moment: Moment) -> bool:
        ahead_s = seconds_of(theirs.stamp) - seconds_of(moment.header.stamp)
        if abs(ahead_s) <= _SAME_MOMENT_S:
            return True
        side = "newer" if ahead_s > 0 else "older"
        self._complain(topic, f"{topic} is {abs(ahead_s):.1f} s {side} than the image: not used")
        return False

    def _on_range(self, message: Range) -> None:
        self._range = message

    def _on_cloud(self, message: PointCloud2) -> None:
        self._cloud = message
