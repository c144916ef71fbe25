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

"""What passes through the estimator: a frame, what the network says of it, what is believed."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import cv2
import numpy as np

from depthrefl_ros.engine.bundle import Bundle
from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.floor_plane import encoded_floor
from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.geometry.rectification import Rectification, rectification
from depthrefl_ros.geometry.tables import Value, frozen, table

_TO_RGB = {
    "rgb": None,
    "bgr": cv2.COLOR_BGR2RGB,
    "rgba": cv2.COLOR_RGBA2RGB,
    "bgra": cv2.COLOR_BGRA2RGB,
    "mono": cv2.COLOR_GRAY2RGB,
}
_TO_BGRA = {
    "rgb": cv2.COLOR_RGB2BGRA,
    "bgr": cv2.COLOR_BGR2BGRA,
    "rgba": cv2.COLOR_RGBA2BGRA,
    "bgra": None,
    "mono": cv2.COLOR_GRAY2BGRA,
}
_TO_GREY = {
    "rgb": cv2.COLOR_RGB2GRAY,
    "bgr": cv2.COLOR_BGR2GRAY,
    "rgba": cv2.COLOR_RGBA2GRAY,
    "bgra": cv2.COLOR_BGRA2GRAY,
    "mono": None,
}
CHANNELS = tuple(_TO_RGB)


@dataclass(frozen=True, eq=False)
class SelfMask(Value):
    """Where a camera sees its own robot; compares by content.

    Attributes:
        pixels: (H, W) uint8 of the image's size, non-zero where the robot is.
    """

    pixels: np.ndarray

    def __post_init__(self) -> None:
        object.__setattr__(self, "pixels", frozen(self.pixels, np.uint8))


@dataclass(frozen=True, eq=False)
class Frame:
    """One image and the camera that took it.

    Attributes:
        image: (H, W, C) uint8, or (H, W) for ``mono``; any strides that OpenCV takes.
        channels: what C means: ``rgb``, ``bgr``, ``rgba``, ``bgra`` or ``mono``.
        camera: of this image's size (``Camera.for_image``).
        mask: where the camera sees its own robot, or None.

    Raises:
        ValueError: image and channels, image and camera, or image and mask do not fit.
    """

    image: np.ndarray
    channels: str
    camera: Camera
    mask: SelfMask | None = None

    def __post_init__(self) -> None:
        if self.channels not in _TO_RGB:
            raise ValueError(f"channels is {self.channels!r}; known are {CHANNELS}")
        height, width = self.camera.height, self.camera.width
        shape = (height, width) if self.channels == "mono" else (height, width, len(self.channels))
        if self.image.shape != shape or self.image.dtype != np.uint8:
            raise ValueError(
                f"image is {self.image.shape} {self.image.dtype}; channels {self.channels!r} and a "
                f"camera of {width}x{height} need {shape} uint8"
            )
        if self.mask is not None and self.mask.pixels.shape != (height, width):
            raise ValueError(f"mask is {self.mask.pixels.shape}; the image needs {(height, width)}")

    def as_rgb(self, pixels: np.ndarray) -> np.ndarray:
        """Return pixels of this frame's channels, of any size, as (h, w, 3) uint8 RGB."""
        return to_rgb(pixels, self.channels)

    def as_bgra(self, pixels: np.ndarray) -> np.ndarray:
        """Return pixels of this frame's channels, of any size, as (h, w, 4) uint8 BGRA."""
        return _converted(pixels, _TO_BGRA[self.channels])


def to_rgb(pixels: np.ndarray, channels: str) -> np.ndarray:
    """Return pixels (h, w, n) or (h, w) uint8 of ``channels`` as (h, w, 3) RGB."""
    return _converted(pixels, _TO_RGB[channels])


def _converted(pixels: np.ndarray, conversion: int | None) -> np.ndarray:
    return pixels if conversion is None else cv2.cvtColor(pixels, conversion)


@dataclass(frozen=True, eq=False)
class NetworkView:
    """How the network sees through one camera.

    Attributes:
        rectification: the maps.
        unseen: (h, w) bool, padding and the robot itself, or None where all is seen.
        hidden: (H, W) bool, the robot itself in the rectified image, or None.
    """

    rectification: Rectification
    unseen: np.ndarray | None
    hidden: np.ndarray | None

    @cached_property
    def image_seen(self) -> np.ndarray | None:
        """(H, W) bool, where the rectified image shows the surroundings; None for everywhere."""
        planes = [one for one in (self.rectification.unseen, self.hidden) if one is not None]
        return ~np.logical_or.reduce(planes) if planes else None


@table
def network_view(
    camera: Camera,
    mask: SelfMask | None,
    is_rectified: bool,
    network: tuple[int, int],
    aspect_fit: str,
) -> NetworkView:
    """Return how the network sees through a camera.

    Args:
        camera: of the raw image.
        mask: where the camera sees its own robot, or None.
        is_rectified: the images are rectified already.
        network: width and height of the network's input, pixels.
        aspect_fit: one of ``ASPECT_FITS``, or ``stretch``.
    """
    way = rectification(camera, is_rectified, network, aspect_fit)
    unseen, hidden = way.network_unseen(), None
    if mask is not None:
        hidden = way.rectify(mask.pixels) > 0
        network_hidden = way.to_network(mask.pixels) > 0
        unseen = network_hidden if unseen is None else unseen | network_hidden
    return NetworkView(way, unseen, hidden)


@table
def network_floor(camera: Camera, base_from_camera: Pose, focal_px: float) -> np.ndarray | None:
    """Return what a network is told of its mount: where each pixel's ray meets the floor.

    Args:
        camera: the rectified pinhole camera of the network's input (h, w).
        base_from_camera: where the camera stands; z = 0 of the base frame is the floor.
        focal_px: the canonical focal length that the depth is for, pixels.

    Returns:
        (h, w) uint8 as ``encode_floor`` has it; None where the camera sees no floor, as one that
        looks up, or that stands below it.
    """
    plane = encoded_floor(camera, base_from_camera, focal_px)
    return frozen(plane) if plane.any() else None


@dataclass(eq=False)
class Prediction:
    """What the network says of one frame, at its own size (h, w).

    Attributes:
        frame: that was looked at.
        depth_m: (h, w) float32 metres along the optical axis; NaN where no image was seen
            (padding, the robot itself), and everywhere where the network knows no metres; +Inf
            where it sees the sky.
        sigma: (h, w) float32 standard deviation of log depth; where the network has none, what the
            model was validated with.
        relative: (h, w) float32, near to far (of an ``inverse_relative`` network far to near); NaN
            where no image was seen or the network has none.
        image: (h, w, 3) uint8 RGB, what the network was shown.
        floor: (h, w) uint8, what it was told of the mount (``network_floor``); None for nothing.
    """

    frame: Frame
    depth_m: np.ndarray
    sigma: np.ndarray
    relative: np.ndarray
    image: np.ndarray
    floor: np.ndarray | None
    view: NetworkView = field(repr=False)

    @property
    def camera(self) -> Camera:
        """The rectified pinhole camera of the planes."""
        return self.view.rectification.network_camera

    @property
    def image_camera(self) -> Camera:
        """The rectified pinhole camera of the image's own size."""
        return self.view.rectification.camera

    def rectified_grey(self) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the rectified image at its own size, (H, W) uint8, and where it was seen.

        That is (H, W) bool, without the robot itself; None where all was seen. ``image_camera``
        is the camera of both.
        """
        grey = _converted(self.frame.image, _TO_GREY[self.frame.channels])
        return self.view.rectification.rectify(grey), self.view.image_seen

    def beside(self, depth_m: np.ndarray) -> np.ndarray:
        """Return a depth of the raw image's pixels (H, W) at the network's, (h, w) float32 NaN.

        Args:
            depth_m: (H, W) float32 metres, NaN where unknown, of the frame's size.
        """
        plane = self.view.rectification.depth_to_network(depth_m)
        if self.view.unseen is not None:
            plane[self.view.unseen] = np.nan
        return plane


@dataclass(eq=False)
class DepthFrame:
    """What one frame became, at the output's size (H, W) and at the network's (h, w).

    Attributes:
        depth_m: (H, W) float32 metres along the optical axis. NaN: unknown; +Inf: beyond
            ``max_range_m``; -Inf: nearer than ``min_range_m`` (REP-117, REP-118).
        camera: rectified pinhole camera of the same size as ``depth_m``.
        colour_bgra: (H, W, 4) uint8 aligned with ``depth_m``, where it was asked for.
        network_depth_m: (h, w) float32 as ``depth_m``.
        network_camera: rectified pinhole camera of the planes at the network's size.
        ungated_m: (h, w) float32 metres before the gates; NaN only where no image was seen, +Inf
            where the network sees the sky, 0 where its answer was no number.
        sigma: (h, w) float32 standard deviation of log depth.
        gate_counts: pixels (of h w) that each gate found; a pixel may be found by several.
    """

    depth_m: np.ndarray
    camera: Camera
    colour_bgra: np.ndarray | None
    network_depth_m: np.ndarray
    network_camera: Camera
    ungated_m: np.ndarray
    sigma: np.ndarray
    gate_counts: dict[str, int]
    _relative: np.ndarray = field(repr=False)
    _rectification: Rectification = field(repr=False)
    _bundle: Bundle = field(repr=False)

    @property
    def depth(self) -> np.ndarray:
        """The same as ``depth_m``: (H, W) float32 metres."""
        return self.depth_m

    @cached_property
    def network_confidence(self) -> np.ndarray:
        """(h, w) float32 in [0, 1]: calibrated probability of being within 1.25 of the truth."""
        return self._bundle.confidence(self.sigma)

    @cached_property
    def confidence(self) -> np.ndarray:
        """(H, W) float32 as ``network_confidence``; NaN wherever ``depth_m`` is."""
        return self._beside_depth(self.network_confidence)

    @cached_property
    def relative(self) -> np.ndarray:
        """(H, W) float32 in (0, 1), near to far; NaN wherever ``depth_m`` is.

        Of a model without metres it is inverse depth of unknown scale and shift, larger is nearer,
        and NaN only where no image was seen.
        """
        if self._bundle.kind == "inverse_relative":
            return self._enlarged(self._relative)
        return self._beside_depth(self._relative)

    def _enlarged(self, plane: np.ndarray) -> np.ndarray:
        """Bring a plane (h, w) float32 to the size of the depth."""
        if self.depth_m.shape == self.network_depth_m.shape and self.camera == self.network_camera:
            return plane
        return self._rectification.from_network(plane)

    def _beside_depth(self, plane: np.ndarray) -> np.ndarray:
        """Bring a plane (h, w) float32 to the size of the depth, unknown where the depth is."""
        return np.where(np.isnan(self.depth_m), np.float32(np.nan), self._enlarged(plane))
