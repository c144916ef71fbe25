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

"""Random views of a training sample: geometry first, with true focal length, then colour.

Geometry is one similarity transform (zoom, crop or letterbox, small roll, mirror) from output
to source pixels, and for some views a turn of the camera about its centre. Colour and depth use the
same transform; depth is always sampled nearest, so no depth is invented between two surfaces.
Metric depth does not change under the similarity: a zoomed crop is what a camera with a longer
focal length sees from the same place. Under a turn it becomes depth along the new optical axis.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import cv2
import numpy as np

from depthrefl_ros.geometry.floor_plane import encode_floor, floor_depth
from depthrefl_ros.geometry.rectification import PADDING_GREY as PAD_COLOUR
from depthrefl_ros.training.datasets import Sample
from depthrefl_ros.training.pasting import paste_pictures
from depthrefl_ros.training.photometric import degrade, jitter_colour
from depthrefl_ros.training.restyling import restyle

_AT_LEAST_ONE = ("max_zoom", "max_zoom_out", "max_gamma", "max_pictures")


@dataclass(frozen=True)
class View:
    """One network input with its truth.

    Attributes:
        image: (h, w, 3) uint8 RGB.
        depth_m: (h, w) float32 metres; 0 where unknown or padded.
        focal_px: focal length in pixels of ``image``.
        centre: principal point (cx, cy) in pixels of ``image``.
        plane: (h, w) uint8, the mount as ``geometry.floor_plane`` has it, all 0 where it is not
            told; None for a network that takes none.
    """

    image: np.ndarray
    depth_m: np.ndarray
    focal_px: float
    centre: tuple[float, float]
    plane: np.ndarray | None = None


@dataclass(frozen=True)
class AugmentConfig:
    """How far the random views go; each ``*_chance`` is a probability.

    A letterboxed view shows the whole image at up to ``max_zoom_out`` times less than its fitting
    size, as a camera with a wider field of view would show that part of the scene.

    Raises:
        ValueError: a chance is not in 0 to 1, a zoom, gamma or number of pictures below 1, or
            another value negative; names the field.
    """

    letterbox_chance: float = 0.3
    max_zoom: float = 1.6
    max_zoom_out: float = 1.0
    flip_chance: float = 0.5
    roll_chance: float = 0.5
    max_roll_deg: float = 5.0
    turn_chance: float = 0.0
    turn_deg: float = 6.0  # standard deviation of yaw and of pitch, at most twice that
    area_chance: float = 0.5
    brightness: float = 0.25  # offset, fraction of full scale
    contrast: float = 0.35
    max_gamma: float = 1.6
    white_balance: float = 0.15
    saturation: float = 0.5
    hue_deg: float = 12.0
    colour_chance: float = 0.85
    greyscale_chance: float = 0.05
    blur_chance: float = 0.2
    noise_chance: float = 0.3
    jpeg_chance: float = 0.3
    shrink_chance: float = 0.15
    paste_chance: float = 0.0  # cuts of other images on plane surfaces; see ``pasting``
    max_pictures: int = 10
    restyle_chance: float = 0.0  # of light and colour of another image; see ``restyling``
    max_restyle: float = 2.0  # periods a shorter side up to which they are exchanged
    mount_chance: float = 0.5  # of telling a known mount
    mount_height: float = 0.03  # standard deviation of the logarithm of the height that is told
    mount_tilt_deg: float = 1.0  # standard deviation of its tilt about each axis

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if name.endswith("_chance"):
                is_right, wanted = 0 <= value <= 1, "from 0 to 1"
            elif name in _AT_LEAST_ONE:
                is_right, wanted = 1 <= value < math.inf, "at least 1"
            else:
                is_right, wanted = 0 <= value < math.inf, "0 or more"
            if not is_right:
                raise ValueError(f"{name} is {value}; {wanted} is needed")

    def of_pictures(self) -> dict[str, Any]:
        """Return the fields that decide picture and truth, all but those of the mount."""
        return {name: v for name, v in asdict(self).items() if not name.startswith("mount_")}


class Augmenter:
    """Makes random views of one size: ``augmenter(sample, generator) -> View``.

    Args:
        height: of the views, pixels.
        width: of the views, pixels.
        config: how far they go.
        canonical_px: f_c of a network that takes the mount's plane; None for views without it,
            which are the same otherwise.
    """

    def __init__(
        self,
        height: int,
        width: int,
        config: AugmentConfig | None = None,
        canonical_px: float | None = None,
    ):
        self.height = height
        self.width = width
        self.config = config or AugmentConfig()
        self.canonical_px = canonical_px

    def __call__(
        self,
        sample: Sample,
        generator: np.random.Generator,
        pictures: Callable[[np.random.Generator], np.ndarray] | None = None,
    ) -> View:
        """Return a random view of ``sample``.

        Args:
            sample: the image with its truth.
            generator: of random numbers.
            pictures: returns a random image (H, W, 3) uint8 RGB that pasted pictures are cut from
                and whose light is taken; without it ``sample`` itself is used.
        """
        pictures = pictures or (lambda _: sample.image)
        matrix, scale = self.random_geometry(sample.depth_m.shape, generator)
        area = generator.random() < self.config.area_chance
        turn = self.random_turn(generator)
        view, inside = render_view(sample, matrix, scale, (self.height, self.width), area, turn)
        image = view.image
        if self.config.paste_chance and generator.random() < self.config.paste_chance:
            source = pictures(generator)
            count = int(generator.integers(1, self.config.max_pictures + 1))
            image = paste_pictures(view, source, count, generator)
        if self.config.restyle_chance and generator.random() < self.config.restyle_chance:
            other = pictures(generator)
            reach = generator.uniform(0.0, self.config.max_restyle)
            image = restyle(image, other, reach, generator.uniform(0.3, 1.0))
        image = jitter_colour(image, self.config, generator)
        image = degrade(image, self.config, generator)
        image[~inside] = PAD_COLOUR
        plane = None
        if self.canonical_px is not None:
            # By a child and last, so that picture and truth are those without a plane.
            child = np.random.default_rng(generator.integers(2**63))
            plane = self.random_plane(sample, matrix, turn, view.focal_px, child)
        return replace(view, image=image, plane=plane)

    def random_plane(
        self,
        sample: Sample,
        matrix: np.ndarray,
        turn: np.ndarray | None,
        focal_px: float,
        generator: np.random.Generator,
    ) -> np.ndarray:
        """Return the plane (h, w) uint8 of a mount that is told about right, or not at all.

        Args:
            sample: with its mount.
            matrix: as for ``render_view``.
            turn: as for ``render_view``.
            focal_px: of the view.
            generator: of random numbers.
        """
        config, size = self.config, (self.height, self.width)
        is_told = generator.random() < config.mount_chance
        height, *tilt = generator.normal(size=4)
        if sample.mount is None or not is_told:
            return np.zeros(size, np.uint8)
        height_m = sample.mount.translation[2] * np.exp(config.mount_height * height)
        lean = cv2.Rodrigues(np.deg2rad(config.mount_tilt_deg) * np.array(tilt))[0]
        down = lean @ -sample.mount.up_in_source
        turn = np.eye(3) if turn is None else turn
        rays = view_rays(sample, matrix, turn)
        depth_m = floor_depth(rays, down, height_m, size, axis=turn[2])
        return encode_floor(depth_m * (self.canonical_px / focal_px))

    def random_geometry(
        self, size: tuple[int, int], generator: np.random.Generator
    ) -> tuple[np.ndarray, float]:
        """Return the output-to-source matrix (2, 3) and its scale (source px per output px)."""
        config = self.config
        fit = (size[1] / self.width, size[0] / self.height)
        centre = np.array([(size[1] - 1) / 2, (size[0] - 1) / 2])
        if generator.random() < config.letterbox_chance:
            scale = max(fit) * config.max_zoom_out ** generator.random()
        else:
            scale = min(fit) / config.max_zoom ** generator.random()
            room = np.array([size[1] - scale * self.width, size[0] - scale * self.height])
            centre = centre + (generator.random(2) - 0.5) * room
        roll = 0.0
        if generator.random() < config.roll_chance:
            roll = np.deg2rad(generator.uniform(-config.max_roll_deg, config.max_roll_deg))
        flip = generator.random() < config.flip_chance
        return view_matrix(centre, scale, roll, flip, (self.height, self.width)), scale

    def random_turn(self, generator: np.random.Generator) -> np.ndarray | None:
        """Return a (3, 3) rotation of the camera in yaw and pitch, or None for none."""
        if generator.random() >= self.config.turn_chance:
            return None
        deviation = np.deg2rad(self.config.turn_deg)
        angles = np.clip(generator.normal(0, deviation, 2), -2 * deviation, 2 * deviation)
        return cv2.Rodrigues(np.array([*angles, 0.0]))[0]


def view_matrix(
    centre: np.ndarray, scale: float, roll: float, flip: bool, size: tuple[int, int]
) -> np.ndarray:
    """Return the (2, 3) matrix from output to source pixel coordinates.

    Args:
        centre: source point (x, y) shown in the middle of the output.
        scale: source pixels per output pixel.
        roll: turn in radians.
        flip: mirror left and right.
        size: output (height, width).
    """
    cosine, sine = scale * np.cos(roll), scale * np.sin(roll)
    turn = np.array([[cosine, -sine], [sine, cosine]])
    if flip:
        turn = turn @ np.diag([-1.0, 1.0])
    middle = np.array([(size[1] - 1) / 2, (size[0] - 1) / 2])
    return np.column_stack([turn, np.asarray(centre) - turn @ middle])


def render_view(
    sample: Sample,
    matrix: np.ndarray,
    scale: float,
    size: tuple[int, int],
    area: bool,
    turn: np.ndarray | None = None,
) -> tuple[View, np.ndarray]:
    """Return the view of ``sample`` under ``matrix``, and the (h, w) bool mask of seen pixels.

    Args:
        sample: the image with its truth.
        matrix: (2, 3) from output to source pixel coordinates (of the turned camera, if turned).
        scale: source pixels per output pixel.
        size: output (height, width).
        area: average over the pixels that fall together when shrinking (INTER_AREA); otherwise
            colour is sampled bilinearly, with the aliasing that a plain remap has.
        turn: (3, 3) rotation from the source camera's frame to the turned one's.
    """
    fx, fy, cx, cy = sample.intrinsics
    turn = np.eye(3) if turn is None else turn
    rays = view_rays(sample, matrix, turn)
    to_source = _intrinsics(sample) @ rays
    image, to_image = sample.image, to_source
    if area and scale > 1.0:
        image, shrink = shrink_source(sample.image, scale)
        to_image = shrink @ to_source
    extent = (size[1], size[0])
    image = cv2.warpPerspective(
        image, to_image, extent, flags=cv2.WARP_INVERSE_MAP | cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip
    depth_m = cv2.warpPerspective(
        sample.depth_m, to_source, extent, flags=cv2.WARP_INVERSE_MAP | cv2.INTER_NEAREST
    )
    # Depth along the new axis: a source ray s with s_z = 1 has z' = (R s)_z z.
    depth_m = depth_m / turned_share(rays, turn, size).astype(np.float32)
    inside = inside_mask(to_source, sample.depth_m.shape, size)
    image[~inside] = PAD_COLOUR
    depth_m[~inside] = 0.0
    centre = np.linalg.inv(matrix[:, :2]) @ (np.array([cx, cy]) - matrix[:, 2])
    focal_px = float(np.sqrt(fx * fy)) / scale
    return View(image, depth_m, focal_px, (float(centre[0]), float(centre[1]))), inside


def view_rays(sample: Sample, matrix: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """Return (3, 3) from output pixels to rays in the source camera's frame, of any length.

    A ray of the turned camera is turned back: R^T K^-1. Arguments as for ``render_view``.
    """
    similarity = np.vstack([matrix, [0.0, 0.0, 1.0]])
    return turn.T @ np.linalg.inv(_intrinsics(sample)) @ similarity


def _intrinsics(sample: Sample) -> np.ndarray:
    fx, fy, cx, cy = sample.intrinsics
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]])


def turned_share(rays: np.ndarray, turn: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return (h, w) source depth over turned depth, 1 without a turn.

    Args:
        rays: (3, 3) from output pixels to rays in the source camera's frame, of any length.
        turn: (3, 3) rotation to the turned camera's frame.
        size: output (height, width).
    """
    source, turned = plane_of(rays[2], size), plane_of((turn @ rays)[2], size)
    return source / turned


def plane_of(row: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return (h, w) of row . (x, y, 1) at every output pixel."""
    height, width = size
    return row[0] * np.arange(width) + (row[1] * np.arange(height) + row[2])[:, None]


def shrink_source(image: np.ndarray, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the image area-averaged by ``scale`` and the (3, 3) matrix into its pixels."""
    height, width = image.shape[:2]
    small = (max(1, round(width / scale)), max(1, round(height / scale)))
    x, y = small[0] / width, small[1] / height
    # A pixel centre u lies at (u + 0.5) r - 0.5 after resizing by r.
    into = np.array([[x, 0, 0.5 * x - 0.5], [0, y, 0.5 * y - 0.5], [0, 0, 1.0]])
    return cv2.resize(image, small, interpolation=cv2.INTER_AREA), into


def inside_mask(
    to_source: np.ndarray, source: tuple[int, int], size: tuple[int, int]
) -> np.ndarray:
    """Return the (h, w) bool mask of output pixels whose centre lies on the source image.

    Args:
        to_source: (3, 3) homography from output to source pixels.
        source: (height, width) of the source image.
        size: output (height, width).
    """
    x, y, depth = (plane_of(row, size) for row in to_source)
    is_ahead = depth > 0
    x, y = x / np.where(is_ahead, depth, 1), y / np.where(is_ahead, depth, 1)
    on_image = (x > -0.5) & (x < source[1] - 0.5) & (y > -0.5) & (y < source[0] - 0.5)
    return is_ahead & on_image
