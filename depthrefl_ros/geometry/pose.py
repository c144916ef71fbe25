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

"""Where one frame stands in another: a rotation and a translation (REP-103 axes).

Optical frames have z forward, x right, y down; base frames x forward, y left, z up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from depthrefl_ros.geometry.tables import Value, frozen

# Axes of a forward-looking optical frame, written in the base frame, as columns.
BASE_FROM_OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
_ORTHONORMAL_TOLERANCE = 1e-3  # tf2 takes quaternions whose length is off by as much
_UNIT_TOLERANCE = 1e-2
_LARGEST_ANGLES = {"pi / 2": math.pi / 2, "pi": math.pi}
_ANGLE_TOLERANCE = 1e-3  # rad: files round


@dataclass(frozen=True, eq=False)
class Pose(Value):
    """A rigid motion: ``p_target = rotation @ p_source + translation``; a value, read-only.

    Attributes:
        rotation: (3, 3) float64, orthonormal with determinant 1.
        translation: (3,) float64 metres: the source frame's origin in the target frame.

    Raises:
        ValueError: a value is not finite, or ``rotation`` is no rotation.
    """

    rotation: np.ndarray
    translation: np.ndarray

    def __post_init__(self) -> None:
        for name, shape in (("rotation", (3, 3)), ("translation", (3,))):
            values = np.asarray(getattr(self, name), dtype=np.float64)
            if values.shape != shape:
                raise ValueError(f"{name} has shape {values.shape}; {shape} is needed")
            if not np.isfinite(values).all():
                raise ValueError(f"{name} is {values.tolist()}; it must be finite")
            object.__setattr__(self, name, frozen(values))
        error = np.abs(self.rotation @ self.rotation.T - np.eye(3)).max()
        if error > _ORTHONORMAL_TOLERANCE or np.linalg.det(self.rotation) < 0:
            raise ValueError(
                f"rotation is {self.rotation.tolist()}; rows of length 1 at right angles that form "
                "a right-handed frame are needed"
            )

    @classmethod
    def identity(cls) -> Pose:
        """Return the pose of two frames that are the same."""
        return cls(np.eye(3), np.zeros(3))

    @classmethod
    def from_mount(
        cls,
        height_m: float,
        pitch_rad: float = 0.0,
        roll_rad: float = 0.0,
        x_m: float = 0.0,
        y_m: float = 0.0,
    ) -> Pose:
        """Return the base frame from the optical frame of a camera that looks ahead.

        Args:
            height_m: of the lens above the floor, which the base frame's origin lies on, metres.
            pitch_rad: more than 0 looks down; within pi / 2.
            roll_rad: more than 0 tilts the camera clockwise as seen from behind; within pi.
            x_m: of the lens ahead of the base frame's origin, metres.
            y_m: of the lens to the left of it, metres.

        Returns:
            base_from_camera.

        Raises:
            ValueError: no camera stands so: it is not above the floor, or an angle is in degrees.
        """
        if not 0.0 < height_m < math.inf:
            raise ValueError(f"height_m is {height_m}; metres above the floor are needed")
        angles = ("pitch_rad", pitch_rad, "pi / 2"), ("roll_rad", roll_rad, "pi")
        for name, angle, limit in angles:
            if not abs(angle) <= _LARGEST_ANGLES[limit] + _ANGLE_TOLERANCE:
                raise ValueError(
                    f"{name} is {angle}; radians from -{limit} to {limit} are needed, no degrees"
                )
        return cls(mount_rotation(pitch_rad, roll_rad), np.array([x_m, y_m, height_m]))

    @classmethod
    def over_floor(cls, height_m: float, up: np.ndarray) -> Pose:
        """Return the base frame on the floor below a camera: z up, x where it looks (REP-103).

        A camera that looks straight down has x where the top of its image points.

        Args:
            height_m: of the camera above the floor, metres.
            up: (3,) of length 1, in the camera's optical frame.

        Returns:
            base_from_camera.
        """
        ahead = np.array([0.0, 0.0, 1.0])
        if abs(up @ ahead) > 0.999:
            ahead = np.array([0.0, -1.0, 0.0])
        x = ahead - (up @ ahead) * up
        x /= np.linalg.norm(x)
        return cls(np.stack([x, np.cross(up, x), up]), np.array([0.0, 0.0, height_m]))

    @classmethod
    def from_quaternion(
        cls, x: float, y: float, z: float, w: float, translation: np.ndarray | tuple = (0, 0, 0)
    ) -> Pose:
        """Return the pose of a geometry_msgs Quaternion (Hamilton, w last) and a translation (m).

        Raises:
            ValueError: the quaternion's length is not 1 (all zero: an unset message).
        """
        length = math.sqrt(x * x + y * y + z * z + w * w)
        if not abs(length - 1.0) <= _UNIT_TOLERANCE:
            raise ValueError(
                f"quaternion is x={x} y={y} z={z} w={w} of length {length:.3g}; length 1 is needed"
            )
        x, y, z, w = x / length, y / length, z / length, w / length
        rotation = np.array(
            [
                [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
                [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
                [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
            ]
        )
        return cls(rotation, np.asarray(translation, np.float64))

    @classmethod
    def from_text(cls, text: str) -> Pose:
        """Return the pose that ``as_text`` wrote.

        Raises:
            ValueError: the text is no rows of a pose.
        """
        rows = np.array(text.split(), np.float64).reshape(3, 4)
        return cls(rows[:, :3], rows[:, 3])

    def as_text(self) -> str:
        """Return the three rows of ``[rotation | translation]``, metres, one after the other."""
        rows = np.column_stack([self.rotation, self.translation])
        return " ".join(f"{value:.5f}" for value in rows.ravel())

    def mount_in_words(self) -> str:
        """Return height and angle of the source frame, an optical one, over the target's z = 0."""
        down_deg = math.degrees(math.asin(max(-1.0, min(1.0, float(-self.rotation[2, 2])))))
        side = "down" if down_deg >= 0.0 else "up"
        return f"{self.translation[2]:.2f} m up, looking {abs(down_deg):.1f} degrees {side}"

    def inverse(self) -> Pose:
        """Return source_from_target."""
        back = self.rotation.T
        return Pose(back, -back @ self.translation)

    def apply(self, points: np.ndarray) -> np.ndarray:
        """Return points of the source frame in the target frame.

        Args:
            points: (..., 3) metres, float32 or float64; NaN stays NaN.

        Returns:
            (..., 3) of the same dtype.
        """
        # float32 stays float32: clouds would double otherwise.
        dtype = points.dtype if points.dtype == np.float32 else np.float64
        return points @ self.rotation.T.astype(dtype) + self.translation.astype(dtype)

    def __matmul__(self, other: Pose) -> Pose:
        """Return ``a_from_b @ b_from_c`` is a_from_c."""
        return Pose(
            self.rotation @ other.rotation, self.rotation @ other.translation + self.translation
        )

    @property
    def up_in_source(self) -> np.ndarray:
        """(3,) float64: the target frame's z axis written in the source frame, of length 1."""
        return self.rotation[2].copy()


def mount_rotation(pitch_rad: float, roll_rad: float) -> np.ndarray:
    """Return the rotation (3, 3) to the base frame of a camera that looks ahead, then is turned.

    The angles are REP-103 rotations of the camera's body, roll about x (forward) first, then
    pitch about y (left).
    """
    cos_p, sin_p = math.cos(pitch_rad), math.sin(pitch_rad)
    cos_r, sin_r = math.cos(roll_rad), math.sin(roll_rad)
    pitch = np.array([[cos_p, 0.0, sin_p], [0.0, 1.0, 0.0], [-sin_p, 0.0, cos_p]])
    roll = np.array([[1.0, 0.0, 0.0], [0.0, cos_r, -sin_r], [0.0, sin_r, cos_r]])
    return pitch @ roll @ BASE_FROM_OPTICAL
