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

"""What the robot knows beside an image and tells a little later than it.

A depth camera's image comes after the picture of the same stamp, and so does the transform of the
robot's odometry. Both are looked for when the network is done, so that hardly any frame waits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from std_msgs.msg import Header

from depthrefl_ros.estimator import StepTimer
from depthrefl_ros.frames import Prediction
from depthrefl_ros.geometry.motion import MotionDepth
from depthrefl_ros.geometry.scale import MOTION, REFERENCE_DEPTH
from depthrefl_ros.geometry.surround import Surround
from depthrefl_ros.ros.convert.images import MessageError
from depthrefl_ros.ros.intake import Received
from depthrefl_ros.ros.parameters import Parameters
from depthrefl_ros.ros.robot import Robot
from depthrefl_ros.ros.transforms import TransformError


class LateSensors:
    """Completes what is known around a frame, in one thread.

    Args:
        robot: knows the depth camera and the odometry.
        fail: told what failed: kind, what, and the error.
    """

    def __init__(self, robot: Robot, fail: Callable[[str, str, Exception], None]):
        self._robot, self._fail = robot, fail
        self._motion = MotionDepth()

    def completed(
        self,
        received: Received,
        header: Header,
        prediction: Prediction,
        surround: Surround,
        timer: StepTimer,
    ) -> Surround:
        """Return the surround with a depth camera's image and what the camera's motion tells.

        Args:
            received: the frame as it came.
            header: its stamp, and its frame as it is published.
            prediction: what the network said of it.
            surround: what is known so far.
            timer: gets the steps ``reference`` and ``motion``.
        """
        parameters = received.settings.parameters
        anchors = parameters.correction.anchors
        if REFERENCE_DEPTH in anchors:
            with timer.step("reference"):
                surround = self._with_reference(received, prediction, surround)
        if MOTION in anchors:
            with timer.step("motion"):
                surround = self._with_motion(header, prediction, surround, parameters)
        return surround

    def _with_reference(
        self, received: Received, prediction: Prediction, surround: Surround
    ) -> Surround:
        """Add what a depth camera saw; where it cannot be used, say so."""
        camera, parameters = prediction.frame.camera, received.settings.parameters
        how = parameters.correction.scale_correction
        size = (camera.width, camera.height)
        try:
            depth_m = self._robot.reference_depth(received.message.header, size, parameters)
        except MessageError as error:
            return replace(surround, problems={**surround.problems, REFERENCE_DEPTH: str(error)})
        if depth_m is None:
            if parameters.correction.fill == "none" and how == "auto":
                return surround
            missing = f"nothing has come on {REFERENCE_DEPTH} yet"
            return replace(surround, problems={**surround.problems, REFERENCE_DEPTH: missing})
        reference_m = prediction.beside(depth_m)
        return replace(surround, reference_m=reference_m, reference_image_m=depth_m)

    def _with_motion(
        self, header: Header, prediction: Prediction, surround: Surround, parameters: Parameters
    ) -> Surround:
        """Add what the camera's motion tells; where it tells nothing, say why."""
        try:
            odom_from_camera = self._robot.odometry(header, parameters)
        except TransformError as error:
            problems = surround.problems
            if parameters.correction.scale_correction == MOTION and not surround.awaits_transforms:
                problems = {**problems, MOTION: f"motion cannot tell distances: {error}"}
            return replace(surround, motion_problem=str(error), problems=problems)
        try:
            grey, seen = prediction.rectified_grey()
            camera, time_s = prediction.image_camera, surround.time_s
            found = self._motion.update(grey, camera, seen, odom_from_camera, time_s)
        except Exception as error:  # depth is as good as without it
            self._motion.reset()
            self._fail("motion", "what moves could not be followed", error)
            return surround
        return replace(surround, motion=found)
