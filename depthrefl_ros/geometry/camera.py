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

"""The camera: what a CameraInfo says (REP-104), checked, and the way between image and network.

Pixel centres lie at integer coordinates, as OpenCV has it: a resize by s takes u to
(u + 0.5) s - 0.5.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np

# Those who undistort by a camera of ours find the maps beside it, too.
from depthrefl_ros.geometry.lens import undistortion_maps as undistortion_maps
from depthrefl_ros.geometry.tables import Value, frozen

# Accepted numbers of coefficients in D; an empty D means no distortion.
_COEFFICIENTS = {
    "plumb_bob": (4, 5),
    "rational_polynomial": (8, 12, 14),
    "equidistant": (4,),
}
_FEWEST_COEFFICIENTS = 4  # k1, k2, p1, p2, or the four of a fisheye
# What drivers and calibrators call the same models, in lower case.
_OTHER_NAMES = {"radtan": "plumb_bob", "fisheye": "equidistant", "equi": "equidistant"}
# What can hardly be true of a camera that a robot drives by.
_ROTATION_TOLERANCE = 1e-2  # of R's rows as unit vectors: calibration files round
_LARGEST_SIDE = 32767  # pixels: OpenCV's maps count in int16
_FOCUSING = 0.01  # ln of the focal length: by so much a lens changes it as it focuses


class CameraError(ValueError):
    """A camera description that no depth can be computed with; names field, value and remedy."""


@dataclass(frozen=True)
class RegionOfInterest:
    """The part of the full image that the driver sends, in full-resolution pixels; 0 0 0 0: all."""

    x_offset: int = 0
    y_offset: int = 0
    height: int = 0
    width: int = 0


@dataclass(frozen=True, eq=False)
class Camera(Value):
    """A calibrated camera as CameraInfo describes it (REP-104); a value, its arrays read-only.

    Attributes:
        width: of the full image, pixels.
        height: of the full image, pixels.
        K: (3, 3) float64 intrinsics of the raw image, pixels.
        D: (n,) float64 distortion coefficients, as many as the model has: zeros at the end of a
            longer list mean nothing, and a shorter one is filled up. Empty or all zero for none, in
            every model: image_geometry reads them so, though an equidistant lens of zeros is still
            a fisheye.
        R: (3, 3) float64 rectifying rotation; all zero is read as the identity.
        P: (3, 4) float64 projection of the rectified image, pixels; where it is all zero, as
            uncalibrated drivers leave it, K stands in.
        distortion_model: ``plumb_bob``, ``rational_polynomial`` or ``equidistant``, in any case;
            any name where there is no distortion.
        binning_x: pixels combined along x; 0 means 1.
        binning_y: pixels combined along y; 0 means 1.
        roi: region of interest.
        rescaled_from: (width, height) of the image that the CameraInfo describes, where
            ``for_image`` had to scale it to another resolution; None where it fits.

    Raises:
        CameraError: a field that cannot be true; the message names it.
    """

    width: int
    height: int
    K: np.ndarray
    D: np.ndarray = field(default_factory=lambda: np.zeros(0))
    R: np.ndarray = field(default_factory=lambda: np.eye(3))
    P: np.ndarray = field(default_factory=lambda: np.zeros((3, 4)))
    distortion_model: str = "plumb_bob"
    binning_x: int = 1
    binning_y: int = 1
    roi: RegionOfInterest = RegionOfInterest()
    rescaled_from: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        def put(name: str, value: object) -> None:
            object.__setattr__(self, name, value)

        for name, shape in (("K", (3, 3)), ("R", (3, 3)), ("P", (3, 4)), ("D", (-1,))):
            values = np.asarray(getattr(self, name), dtype=np.float64)
            if shape != (-1,) and values.size != shape[0] * shape[1]:
                raise CameraError(f"{name} has {values.size} values; {shape} are needed")
            if not np.isfinite(values).all():
                raise CameraError(f"{name} is {values.ravel().tolist()}; it must be finite")
            put(name, frozen(values.reshape(shape)))
        if not (0 < self.width <= _LARGEST_SIDE and 0 < self.height <= _LARGEST_SIDE):
            raise CameraError(
                f"width x height is {self.width}x{self.height}; the image's size is needed, up to "
                f"{_LARGEST_SIDE} pixels each"
            )
        if not self.K.any():
            raise CameraError(
                "K is all zero, so the camera is not calibrated; calibrate it, give "
                "camera_info_url, or set assumed_horizontal_fov; if only P is filled in, set "
                "image_is_rectified to use it"
            )
        if not self.R.any():
            put("R", frozen(np.eye(3)))
        _check_rotation(self.R)
        if not self.P.any():
            put("P", frozen(np.hstack([self.K, np.zeros((3, 1))])))
        for name, matrix in (("K", self.K), ("P", self.P)):
            if matrix[0, 0] <= 0 or matrix[1, 1] <= 0:
                raise CameraError(
                    f"{name} has focal lengths {matrix[0, 0]} and {matrix[1, 1]}; both must be "
                    "positive pixels"
                )
            put(name, _with_last_one(name, matrix))
        self._put_distortion()
        put("binning_x", self.binning_x or 1)
        put("binning_y", self.binning_y or 1)

    def _put_distortion(self) -> None:
        """Give D the length that its model has, and the model the name that we know it by."""
        name = self.distortion_model.strip().lower()
        model = _OTHER_NAMES.get(name, name)
        used = int(np.flatnonzero(self.D)[-1]) + 1 if self.D.any() else 0
        allowed = _COEFFICIENTS.get(model)
        if not used:
            model, D = (model if allowed else "plumb_bob"), self.D
        elif allowed is None and name:
            raise CameraError(
                f"distortion_model is {self.distortion_model!r}; known are {sorted(_COEFFICIENTS)}"
            )
        else:
            model = model or "plumb_bob"
            allowed = _COEFFICIENTS[model]
            if self.D.size in allowed:
                allowed = (self.D.size,)
            length = next((length for length in allowed if length >= used), None)
            if length is None or self.D.size < _FEWEST_COEFFICIENTS:
                raise CameraError(
                    f"D has {self.D.size} coefficients, {self.D.tolist()}; {model} takes one of "
                    f"{allowed}"
                )
            D = np.zeros(length)
            D[:used] = self.D[:used]
        object.__setattr__(self, "distortion_model", model)
        object.__setattr__(self, "D", frozen(D))

    @classmethod
    def pinhole(cls, width: int, height: int, fx: float, fy: float, cx: float, cy: float) -> Camera:
        """Return a camera without distortion; lengths in pixels."""
        return cls(width, height, np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], np.float64))

    @classmethod
    def from_horizontal_fov(cls, width: int, height: int, fov_rad: float) -> Camera:
        """Return a pinhole camera of square pixels with this horizontal field of view in radians.

        Raises:
            CameraError: the field of view is not between 0 and pi.
        """
        if not 0.0 < fov_rad < math.pi:
            raise CameraError(f"horizontal field of view is {fov_rad} rad; need 0 < it < pi")
        focal = width / 2.0 / math.tan(fov_rad / 2.0)
        return cls.pinhole(width, height, focal, focal, (width - 1) / 2.0, (height - 1) / 2.0)

    @property
    def fx(self) -> float:
        """Horizontal focal length of the rectified image, pixels."""
        return float(self.P[0, 0])

    @property
    def fy(self) -> float:
        """Vertical focal length of the rectified image, pixels."""
        return float(self.P[1, 1])

    @property
    def mean_focal_px(self) -> float:
        """Mean of both focal lengths of the rectified image, pixels.

        They differ where ``stretch`` changes the aspect. Networks that were trained on stretched
        images (LightlyTrain's, after Depth Anything 3) are scaled by (fx + fy) / 2.
        """
        return (self.fx + self.fy) / 2.0

    @property
    def cx(self) -> float:
        """Principal point of the rectified image, x in pixels."""
        return float(self.P[0, 2])

    @property
    def cy(self) -> float:
        """Principal point of the rectified image, y in pixels."""
        return float(self.P[1, 2])

    @property
    def is_distorted(self) -> bool:
        """Whether the raw image differs from the rectified one (D, R, or P other than K)."""
        return bool(
            self.D.any()
            or not np.allclose(self.R, np.eye(3))
            or not np.allclose(self.P[:, :3], self.K)
        )

    def for_image(self, width: int, height: int) -> Camera:
        """Return the camera of an image of this size, binning and region of interest applied.

        Drivers and republishers also send images of another resolution than their CameraInfo
        describes. With the same aspect they are taken for the same picture resized, and
        ``rescaled_from`` tells of it, since a crop to that aspect cannot be told from it.

        Raises:
            CameraError: the image has an aspect that this CameraInfo does not describe.
        """
        roi = self.roi
        has_roi = roi.width > 0 and roi.height > 0
        x0, y0 = (roi.x_offset, roi.y_offset) if has_roi else (0, 0)
        seen = (roi.width, roi.height) if has_roi else (self.width, self.height)
        described = (seen[0] // self.binning_x, seen[1] // self.binning_y)
        full = (self.width, self.height)
        if has_roi and (width, height) == full and described != full:
            return replace(self, roi=RegionOfInterest()).for_image(width, height)  # left over
        if (width, height) == described:
            if (x0, y0) == (0, 0) and described == (self.width, self.height):
                return self
            return self._resampled(width, height, x0, y0, 1 / self.binning_x, 1 / self.binning_y)
        # One whole pixel of rounding is allowed.
        if abs(width * described[1] - height * described[0]) >= max(described):
            raise CameraError(
                f"camera_info describes an image of {described[0]}x{described[1]} (width x height "
                f"{self.width}x{self.height}, binning {self.binning_x}x{self.binning_y}, roi "
                f"{roi.width}x{roi.height}) but the image is {width}x{height}, of another aspect"
            )
        camera = self._resampled(width, height, x0, y0, width / seen[0], height / seen[1])
        return replace(camera, rescaled_from=described)

    def scaled(self, width: int, height: int) -> Camera:
        """Return the camera of the same picture resized to this size."""
        return self._resampled(width, height, 0, 0, width / self.width, height / self.height)

    def is_like(self, other: Camera) -> bool:
        """Return whether another camera may be this one at another moment, its lens focusing.

        Not one of another size, nor one that has zoomed.
        """
        is_same_size = (self.width, self.height) == (other.width, other.height)
        return is_same_size and abs(math.log(self.fx / other.fx)) <= _FOCUSING

    def rectified(self) -> Camera:
        """Return the pinhole camera of the rectified image: K from P, no distortion.

        Depth counts from this camera's own lens: the baseline Tx of a stereo pair's P is dropped.
        """
        P = np.hstack([self.P[:, :3], np.zeros((3, 1))])
        return replace(
            self, K=P[:, :3], P=P, D=np.zeros(5), R=np.eye(3), distortion_model="plumb_bob"
        )

    def strided(self, stride: int) -> Camera:
        """Return the pinhole camera of every ``stride``-th row and column: the same rays, fewer."""
        return Camera.pinhole(
            -(-self.width // stride),
            -(-self.height // stride),
            self.fx / stride,
            self.fy / stride,
            self.cx / stride,
            self.cy / stride,
        )

    def _resampled(
        self, width: int, height: int, x0: int, y0: int, scale_x: float, scale_y: float
    ) -> Camera:
        K, P = self.K.copy(), self.P.copy()
        for matrix in (K, P):
            matrix[0, 2] = (matrix[0, 2] - x0 + 0.5) * scale_x - 0.5
            matrix[1, 2] = (matrix[1, 2] - y0 + 0.5) * scale_y - 0.5
            matrix[0, [0, 1]] *= scale_x
            matrix[1, 1] *= scale_y
        P[0, 3] *= scale_x
        P[1, 3] *= scale_y
        return replace(
            self,
            width=width,
            height=height,
            K=K,
            P=P,
            binning_x=1,
            binning_y=1,
            roi=RegionOfInterest(),
        )


def _check_rotation(R: np.ndarray) -> None:
    """Refuse a matrix (3, 3) that scales, shears or mirrors: rectification would warp the depth."""
    is_orthonormal = np.allclose(R @ R.T, np.eye(3), rtol=0.0, atol=_ROTATION_TOLERANCE)
    determinant = np.linalg.det(R)
    if is_orthonormal and determinant > 0.0:
        return
    fault = "its rows are not unit vectors at right angles"
    if is_orthonormal:
        fault = f"its determinant is {determinant:.3g}, so it mirrors"
    raise CameraError(
        f"R is {R.ravel().tolist()}, no rotation: {fault}; a rotation has orthonormal rows and "
        "the determinant 1, and all zero is read as the identity"
    )


def _with_last_one(name: str, matrix: np.ndarray) -> np.ndarray:
    """Return the matrix with 1 in its last place, where drivers that fill only f and c leave 0."""
    last = matrix[2, 2]
    if last != 0.0 and abs(last - 1.0) > 1e-6:
        raise CameraError(f"{name} has {last:g} in its last row; 1 is needed")
    if last:
        return matrix
    filled = matrix.copy()
    filled[2, 2] = 1.0
    return frozen(filled)
