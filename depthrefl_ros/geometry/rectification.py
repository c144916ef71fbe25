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

"""The way from a camera image to the network's input and back, computed once per camera.

One resampling per frame: undistortion and resizing are one map. The aspect is kept (``pad`` or
``crop``), so that one focal length holds for both directions; only networks that were trained on
squashed images get them so (``stretch``).
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.lens import undistortion_maps
from depthrefl_ros.geometry.rays import image_rays
from depthrefl_ros.geometry.tables import table

ASPECT_FITS = ("pad", "crop")
PADDING_GREY = 127  # what the network's normalisation takes to zero
# Undistorted pictures are sampled this much finer than the network's input and averaged down, as a
# pinhole's picture is: the network answers even to a little blur with another scale.
_OVERSAMPLING = 2


class Rectangle(NamedTuple):
    """A rectangle of whole pixels."""

    x: int
    y: int
    width: int
    height: int

    def of(self, plane: np.ndarray) -> np.ndarray:
        """Return the view of the plane (H, W, ...) inside the rectangle."""
        return plane[self.y : self.y + self.height, self.x : self.x + self.width]


def fit_rectangles(
    image: tuple[int, int], network: tuple[int, int], aspect_fit: str
) -> tuple[Rectangle, Rectangle]:
    """Return which part of the image is seen, and where it lies in the network's input.

    Args:
        image: (width, height) of the image, pixels.
        network: (width, height) of the network's input, pixels.
        aspect_fit: ``pad`` sees all of the image, ``crop`` fills all of the network's input,
            ``stretch`` does both and keeps no aspect.

    Returns:
        The seen part of the image, and its place in the network's input.

    Raises:
        ValueError: ``aspect_fit`` is none of them.
    """
    if aspect_fit == "stretch":  # what a network was trained with, never a user's choice
        return Rectangle(0, 0, *image), Rectangle(0, 0, *network)
    if aspect_fit not in ASPECT_FITS:
        raise ValueError(f"aspect_fit is {aspect_fit!r}; known are {ASPECT_FITS}")
    choose = min if aspect_fit == "pad" else max
    scale = choose(network[0] / image[0], network[1] / image[1])
    seen = [min(i, max(1, round(n / scale))) for i, n in zip(image, network, strict=True)]
    place = [min(n, max(1, round(i * scale))) for i, n in zip(image, network, strict=True)]
    return (
        Rectangle((image[0] - seen[0]) // 2, (image[1] - seen[1]) // 2, *seen),
        Rectangle((network[0] - place[0]) // 2, (network[1] - place[1]) // 2, *place),
    )


class Rectification:
    """Undistorts and resizes images to the network, and brings depth back to the image.

    Args:
        camera: of the images that come, their size (``Camera.for_image``).
        is_rectified: the images are rectified already: P holds and D is ignored.
        network: (width, height) of the network's input, pixels.
        aspect_fit: ``pad`` or ``crop``.

    Attributes:
        camera: the rectified pinhole camera, of the images' size, D zero.
        network_camera: the same for the network's input.
        unseen: (H, W) bool, pixels of the rectified image that the raw one does not show; None
            where it shows all.
    """

    def __init__(
        self,
        camera: Camera,
        is_rectified: bool,
        network: tuple[int, int],
        aspect_fit: str = "pad",
    ):
        self.camera = camera.rectified()
        self._size = (camera.width, camera.height)
        self._network = network
        self._seen, self._place = fit_rectangles(self._size, network, aspect_fit)
        scale_x = self._place.width / self._seen.width
        scale_y = self._place.height / self._seen.height
        self.network_camera = Camera.pinhole(
            network[0],
            network[1],
            self.camera.fx * scale_x,
            self.camera.fy * scale_y,
            (self.camera.cx - self._seen.x + 0.5) * scale_x - 0.5 + self._place.x,
            (self.camera.cy - self._seen.y + 0.5) * scale_y - 0.5 + self._place.y,
        )
        self._is_warped = camera.is_distorted and not is_rectified
        self.unseen: np.ndarray | None = None
        self._turn: np.ndarray | None = None
        if self._is_warped:
            self._prepare_maps(camera)

    @property
    def network_focal_px(self) -> float:
        """Focal length of the network's input, pixels: the mean of both directions."""
        return self.network_camera.mean_focal_px

    def _prepare_maps(self, camera: Camera) -> None:
        width, height = self._size
        fine = (_OVERSAMPLING * self._network[0], _OVERSAMPLING * self._network[1])
        x, y = undistortion_maps(camera, self.network_camera.scaled(*fine).K, fine)
        # A bilinear map reads four pixels; coarser steps than two would skip some. So large images
        # are first shrunk by a whole factor with a box filter, which sees every pixel. The lens
        # has a say in the steps: a fisheye packs the same picture into fewer pixels.
        steps = min(_middle_step(x, axis=1), _middle_step(y, axis=0))
        self._shrink = max(1, min(int(steps), width, height))
        factor_x = max(1, width // self._shrink) / width
        factor_y = max(1, height // self._shrink) / height
        self._network_maps = cv2.convertMaps(
            (x + np.float32(0.5)) * np.float32(factor_x) - np.float32(0.5),
            (y + np.float32(0.5)) * np.float32(factor_y) - np.float32(0.5),
            cv2.CV_16SC2,
        )
        x, y = undistortion_maps(camera, self.camera.K, self._size)
        self.unseen = (x < -0.5) | (y < -0.5) | (x > width - 0.5) | (y > height - 0.5)
        self._image_maps = cv2.convertMaps(x, y, cv2.CV_16SC2)
        if not np.array_equal(camera.R, np.eye(3)):
            # What is at depth 1 along the raw axis is at this depth along the rectified one.
            along_raw = image_rays(self.camera) @ camera.R[:, 2]
            ahead = along_raw > 0.0
            self._turn = np.where(ahead, 1.0 / np.where(ahead, along_raw, 1.0), np.nan)
            self._turn = self._turn.astype(np.float32)

    def to_network(self, image: np.ndarray) -> np.ndarray:
        """Resample (H, W[, C]) uint8 to (h, w[, C]) at the network's size, padding in mid-grey."""
        if self._is_warped:
            if self._shrink > 1:
                size = (self._size[0] // self._shrink, self._size[1] // self._shrink)
                image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
            grey = (PADDING_GREY,) * 4
            warped = cv2.remap(
                image, *self._network_maps, cv2.INTER_LINEAR, None, cv2.BORDER_CONSTANT, grey
            )
            small = cv2.resize(warped, self._network, interpolation=cv2.INTER_AREA)
            return self._padded(self._place.of(small))
        size = (self._place.width, self._place.height)
        shrinks = size[0] < self._seen.width
        seen = self._seen.of(image)
        how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        return self._padded(cv2.resize(seen, size, interpolation=how))

    def depth_to_network(self, depth: np.ndarray) -> np.ndarray:
        """Bring a depth that was measured beside the image to the network's pixels.

        Args:
            depth: (H, W) float32 of the raw image's pixels; NaN is unknown.

        Returns:
            (h, w) float32, the nearest pixel's, so that no surfaces mix; NaN where there is none.
        """
        canvas = np.full((self._network[1], self._network[0]), np.nan, np.float32)
        size = (self._place.width, self._place.height)
        seen = self._seen.of(self.rectify_depth(depth))
        self._place.of(canvas)[...] = cv2.resize(seen, size, interpolation=cv2.INTER_NEAREST_EXACT)
        return canvas

    def rectify_depth(self, depth: np.ndarray) -> np.ndarray:
        """Return a raw depth (H, W) float32 as the rectified camera sees it; NaN where unseen.

        R turns the optical axis, and depth is counted along it.
        """
        if not self._is_warped:
            return depth
        depth = cv2.remap(
            depth, *self._image_maps, cv2.INTER_NEAREST, None, cv2.BORDER_CONSTANT, (np.nan,)
        )
        return depth if self._turn is None else depth * self._turn

    def _padded(self, content: np.ndarray) -> np.ndarray:
        if content.shape[:2] == (self._network[1], self._network[0]):
            return content
        shape = (self._network[1], self._network[0], *content.shape[2:])
        canvas = np.full(shape, PADDING_GREY, np.uint8)
        self._place.of(canvas)[...] = content
        return canvas

    def rectify(self, image: np.ndarray) -> np.ndarray:
        """Rectify (H, W[, C]) uint8 to an image of the same size; black where unseen."""
        if not self._is_warped:
            return image
        return cv2.remap(image, *self._image_maps, cv2.INTER_LINEAR)

    def network_unseen(self) -> np.ndarray | None:
        """Return (h, w) bool of network pixels without an image pixel, or None if all have one."""
        unseen = np.ones((self._network[1], self._network[0]), bool)
        inside = self._place.of(unseen)
        inside[...] = False
        if self.unseen is not None:
            mask = self._seen.of(self.unseen.astype(np.uint8))
            size = (self._place.width, self._place.height)
            inside |= cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST_EXACT) > 0
        return unseen if unseen.any() else None

    def from_network(self, depth: np.ndarray, edges: np.ndarray | None = None) -> np.ndarray:
        """Bring depth back to the size of the image without mixing surfaces.

        Between pixels of one surface the depth is interpolated; next to a marked edge, or to a
        pixel without a finite depth, the nearest pixel's value stands.

        Args:
            depth: (h, w) float32, metres, NaN and infinities allowed.
            edges: (h, w) bool, pixels at a jump of depth, or None for no jumps.

        Returns:
            (H, W) float32; NaN where the network saw nothing.
        """
        part = np.ascontiguousarray(self._place.of(depth))
        sharp = ~np.isfinite(part)
        if edges is not None:
            sharp |= self._place.of(edges)
        size = (self._seen.width, self._seen.height)
        full = cv2.resize(part, size, interpolation=cv2.INTER_LINEAR)
        if sharp.any():
            nearest = cv2.resize(part, size, interpolation=cv2.INTER_NEAREST_EXACT)
            # Every output pixel that takes any weight from a sharp pixel.
            mask = cv2.resize(sharp.astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
            # At odd factors a sharp neighbour may have no weight at all; but NaN times 0 is NaN.
            cv2.copyTo(nearest, ((mask > 0) | ~np.isfinite(full)).view(np.uint8), full)
        if size != self._size:
            canvas = np.full(self._size[::-1], np.nan, np.float32)
            self._seen.of(canvas)[...] = full
            full = canvas
        if self.unseen is not None:
            full[self.unseen] = np.nan
        return full


@table
def rectification(
    camera: Camera, is_rectified: bool, network: tuple[int, int], aspect_fit: str = "pad"
) -> Rectification:
    """Return the ``Rectification`` of these values, made once."""
    return Rectification(camera, is_rectified, network, aspect_fit)


def reprojected(
    plane: np.ndarray, source: Camera, camera: Camera, interpolation: int = cv2.INTER_NEAREST
) -> np.ndarray:
    """Return what another pinhole at the same place, looking the same way, would have seen.

    Args:
        plane: (H, W) float32 of ``source``; its outermost pixels go on beyond its edges.
        source: a pinhole camera.
        camera: the other pinhole camera (h, w).
        interpolation: of OpenCV; the nearest pixel by default, which mixes no surfaces.

    Returns:
        (h, w) float32.
    """
    columns = source.fx * (np.arange(camera.width) - camera.cx) / camera.fx + source.cx
    rows = source.fy * (np.arange(camera.height) - camera.cy) / camera.fy + source.cy
    x, y = np.meshgrid(columns.astype(np.float32), rows.astype(np.float32))
    return cv2.remap(plane, x, y, interpolation, borderMode=cv2.BORDER_REPLICATE)


def _middle_step(positions: np.ndarray, axis: int) -> float:
    """Return median pixels between neighbours of a map (h, w), where the lens looks."""
    steps = np.abs(np.diff(positions, axis=axis))
    steps = steps[steps > 0.0]
    return float(np.median(steps)) if steps.size else 1.0
