"""Where the camera stands on the robot: by TF, else by the mount parameters, else by the floor."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from depthrefl_ros.estimator import DepthFrame
from depthrefl_ros.geometry.ground import find_floor
from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.ros.moment import Moment
from depthrefl_ros.ros.parameters import Parameters
from depthrefl_ros.ros.transforms import TransformError, Transforms

# A floor that is out of view, behind a crowd or a wall, is where it was for this long.
FLOOR_HELD_S = 2.0


@dataclass(frozen=True, eq=False)
class CameraPose:
    """Where the camera stands.

    Attributes:
        base_from_camera: z = 0 is the floor; the same object for as long as it does not change.
        source: ``TF``, ``parameters`` or ``floor``. By a fitted floor only height and tilt are
            known, and they err as the depth does.
    """

    base_from_camera: Pose
    source: str


class Mount:
    """Finds poses between the camera, the robot and its sensors, frame by frame.

    Args:
        transforms: TF, where there is any.
    """

    def __init__(self, transforms: Transforms):
        self._transforms = transforms
        self._parameters_key: tuple[float, ...] = ()
        self._by_parameters: Pose | None = None
        self._floor: Pose | None = None
        self._floor_seen_s = -math.inf

    def reset(self) -> None:
        """Forgets the past, after a backward jump of the clock."""
        self._transforms.clear()
        self._floor = None

    def close(self) -> None:
        """Ends the listening to TF."""
        self._transforms.close()

    def camera_pose(self, moment: Moment) -> CameraPose:
        """Where the camera stands by TF, else by the mount parameters.

        Raises:
            TransformError: neither says.
        """
        header, parameters = moment.header, moment.parameters
        try:
            pose = self._transforms.find(parameters.base_frame, header.frame_id, header.stamp)
            return CameraPose(pose, "TF")
        except TransformError as error:
            if parameters.camera_height <= 0.0:
                raise TransformError(f"{error}; camera_height is not given either") from error
        return CameraPose(self.pose_by_parameters(parameters), "parameters")

    def from_camera(self, frame_id: str, moment: Moment) -> Pose:
        """The camera's optical frame in another frame of the robot.

        Args:
            frame_id: the other frame; without TF only the camera's own and ``base_frame`` do.
            moment: of the image.

        Raises:
            TransformError: the frame is unknown.
        """
        if frame_id == moment.header.frame_id:
            return Pose.identity()
        if frame_id == moment.parameters.base_frame:
            return self.camera_pose(moment).base_from_camera
        return self._transforms.find(frame_id, moment.header.frame_id, moment.header.stamp)

    def camera_pose_or_floor(
        self, frame: DepthFrame, up: Callable[[], np.ndarray], moment: Moment
    ) -> CameraPose:
        """As ``camera_pose``; where that says nothing, by the floor that is in view.

        Args:
            frame: depth in which the floor is looked for.
            up: gives (3,), roughly up in the camera's optical frame.
            moment: of the image.

        Raises:
            TransformError: no floor was in view lately, either.
        """
        try:
            return self.camera_pose(moment)
        except TransformError as error:
            floor = find_floor(frame.network_depth_m, frame.network_camera, up())
            if floor is not None:
                self._floor, self._floor_seen_s = floor.base_from_camera, moment.time_s
            elif moment.time_s - self._floor_seen_s > FLOOR_HELD_S:
                self._floor = None
            if self._floor is None:
                raise TransformError(f"{error}; and no floor is in view") from error
        return CameraPose(self._floor, "floor")

    def pose_by_parameters(self, parameters: Parameters) -> Pose:
        """base_from_camera as ``camera_height``, ``camera_pitch`` and ``camera_roll`` have it."""
        key = (parameters.camera_height, parameters.camera_pitch, parameters.camera_roll)
        if self._by_parameters is None or key != self._parameters_key:
            height_m, pitch_deg, roll_deg = self._parameters_key = key
            self._by_parameters = Pose.from_mount(
                height_m, math.radians(pitch_deg), math.radians(roll_deg)
            )
        return self._by_parameters
