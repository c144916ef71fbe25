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

"""Pictures pasted on the plane surfaces of a view, in perspective and in sizes of real things.

What is rendered from near is mostly a bare wall, floor or table top, and what is rendered from far
is full of things. A network learns that shortcut (Geirhos et al., "Shortcut learning in deep neural
networks", 2020): much detail means far. It then puts a real desk, which is near and full of things,
farther than before. A page or a cover lying on a surface adds detail at a depth that is known and
stays as it is. Unlike Dwibedi et al., "Cut, paste and learn" (2017), nothing is added that has a
depth of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from depthrefl_ros.training.augment import View

SIZES_M = (0.06, 0.4)  # of a picture's longer side: from a card to a poster
TRIES = 3  # places for one picture
SMALLEST_PX = 10.0
FLATNESS = 0.02  # relative distance of a surface's inverse depth from a plane's
GRID = 9  # samples of a window across and down, which a plane is fitted to
SHADE_PX = 6.0  # standard deviation of the blur after which brightness is that of the light


def paste_pictures(
    view: View, source: np.ndarray, count: int, generator: np.random.Generator
) -> np.ndarray:
    """Return the view's image (h, w, 3) uint8 with cuts of another image on its plane surfaces.

    Args:
        view: image, depth and camera; the depth is that of the result too.
        source: (H, W, 3) uint8, what the pictures are cut from.
        count: pictures to place; one for which no plane surface is found is left out.
        generator: of random numbers.
    """
    image, depth_m = view.image.copy(), view.depth_m
    known = np.flatnonzero(depth_m > 0)
    if known.size == 0:
        return image
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    shade = cv2.GaussianBlur(grey, (0, 0), SHADE_PX)
    for _ in range(count):
        size_m = SIZES_M[0] * (SIZES_M[1] / SIZES_M[0]) ** generator.random()
        for _ in range(TRIES):
            y, x = divmod(int(generator.choice(known)), depth_m.shape[1])
            size_px = size_m * view.focal_px / depth_m[y, x]
            if not SMALLEST_PX <= size_px <= 2 * max(depth_m.shape):
                continue
            plane = plane_at(depth_m, x, y, size_px)
            corners = None if plane is None else place(view, plane, x, y, size_m, generator)
            if corners is not None:
                drawn = draw(source, corners, depth_m.shape, generator)
                put(image, drawn, visible(depth_m, plane, corners), shade, generator)
                break
    return image


def plane_at(depth_m: np.ndarray, x: int, y: int, size_px: float) -> np.ndarray | None:
    """Return (a, b, c) with 1 / depth = a u + b v + c in a window, None where it shows no plane.

    Args:
        depth_m: (h, w) metres, 0 unknown.
        x: column of the window's middle.
        y: its row.
        size_px: its width and height.
    """
    steps = np.rint(np.linspace(-size_px / 2, size_px / 2, GRID)).astype(int)
    u, v = (grid.ravel() for grid in np.meshgrid(x + steps, y + steps))
    seen = (u >= 0) & (u < depth_m.shape[1]) & (v >= 0) & (v < depth_m.shape[0])
    u, v = u[seen], v[seen]
    depth = depth_m[v, u].astype(np.float64)
    u, v, depth = u[depth > 0], v[depth > 0], depth[depth > 0]
    if u.size < GRID * GRID / 3:
        return None
    design = np.column_stack([u, v, np.ones(u.size)])
    plane, _, rank, _ = np.linalg.lstsq(design, 1 / depth, rcond=None)
    miss = np.abs(design @ plane * depth - 1)
    is_plane = rank == 3 and np.median(miss) < FLATNESS / 4 and np.mean(miss < FLATNESS) > 0.7
    return plane if is_plane else None


def place(
    view: View, plane: np.ndarray, x: int, y: int, size_m: float, generator: np.random.Generator
) -> np.ndarray | None:
    """Return the corners (4, 2) in pixels of a rectangle on the plane, None behind the camera.

    With a ray r = ((u - cx) / f, (v - cy) / f, 1) the points X = z r of the plane
    1 / z = a u + b v + c fulfil n . X = 1, n = (a f, b f, a cx + b cy + c).
    """
    a, b, c = plane
    focal_px, (cx, cy) = view.focal_px, view.centre
    normal = np.array([a * focal_px, b * focal_px, a * cx + b * cy + c])
    middle = np.array([(x - cx) / focal_px, (y - cy) / focal_px, 1.0])
    middle /= normal @ middle
    aside = np.eye(3)[1] if abs(normal[1]) < abs(normal[2]) else np.eye(3)[2]
    across = np.cross(normal, aside)
    across /= np.linalg.norm(across)
    down = np.cross(normal, across)
    down /= np.linalg.norm(down)
    # Most things lie nearly straight.
    is_straight = generator.random() < 0.6
    angle = generator.normal(0, 0.3) if is_straight else generator.uniform(0, 2 * np.pi)
    half = size_m / 2 * np.array([generator.uniform(0.5, 1.0), 1.0])
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    offsets = (np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * half) @ turn
    corners = middle + offsets @ np.stack([across, down])
    if corners[:, 2].min() <= 0.02:
        return None
    return focal_px * corners[:, :2] / corners[:, 2:] + (cx, cy)


def draw(
    source: np.ndarray, corners: np.ndarray, size: tuple[int, int], generator: np.random.Generator
) -> np.ndarray:
    """Return (h, w, 3) uint8: a random cut of ``source`` between ``corners`` (4, 2) in pixels."""
    sides = np.linalg.norm(corners - np.roll(corners, -1, axis=0), axis=1)
    aspect = np.clip(sides[0] / max(sides[1], 1e-3), 0.3, 3.0)
    height, width = source.shape[:2]
    tall = generator.uniform(0.15, 0.9) * min(height, width / aspect)
    wide = aspect * tall
    corner = generator.uniform(0, width - wide), generator.uniform(0, height - tall)
    cut = np.array([(0, 0), (wide, 0), (wide, tall), (0, tall)]) + corner
    factor = 1.3 * sides.max() / max(wide, tall)
    if factor < 0.8:  # averaged before it is made small, as a lens does
        source = cv2.resize(source, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        cut = cut * factor
    matrix = cv2.getPerspectiveTransform(cut.astype(np.float32), corners.astype(np.float32))
    return cv2.warpPerspective(source, matrix, size[::-1], borderMode=cv2.BORDER_REPLICATE)


def visible(depth_m: np.ndarray, plane: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Return the (h, w) bool mask of pixels inside ``corners`` that show the plane itself."""
    mask = np.zeros(depth_m.shape, np.uint8)
    cv2.fillConvexPoly(mask, np.rint(corners * 16).astype(np.int32), 1, shift=4)
    height, width = depth_m.shape
    a, b, c = plane
    inverse = a * np.arange(width) + (b * np.arange(height) + c)[:, None]
    return (mask > 0) & (depth_m > 0) & (np.abs(depth_m * inverse - 1) < 2 * FLATNESS)


def put(
    image: np.ndarray,
    drawn: np.ndarray,
    mask: np.ndarray,
    shade: np.ndarray,
    generator: np.random.Generator,
) -> None:
    """Put ``drawn`` on ``image`` in place where ``mask`` holds, with the light of the surface."""
    strength = generator.uniform(0.7, 1.2)
    if mask.any():
        light = np.clip(shade[mask] / max(float(np.median(shade[mask])), 8.0), 0.4, 1.6)
        image[mask] = np.clip(drawn[mask] * (light * strength)[:, None], 0, 255).astype(np.uint8)
