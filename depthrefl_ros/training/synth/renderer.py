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

"""Renders a view of a stage with Cycles: a photograph, exact depth, and the camera.

Depth comes from rays of our own through the pixels' centres. The colour pass spreads its rays over
the pixel, so the depth beside it would be that of a random place in the pixel, and it would look
through glass; these rays stop at every pane and mirror, as a robot would.
"""

from __future__ import annotations

import math
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import OpenEXR

from depthrefl_ros.geometry.camera import Camera

from .stage import Matrix, Stage, bpy
from .views import View

FAR_M = 1000.0


@dataclass(frozen=True)
class PictureSettings:
    """How large a picture is, and how it is rendered.

    Attributes:
        width: pixels.
        height: pixels.
        samples: rays a pixel for colour, denoised afterwards.
        threads: CPU threads; 0 takes every core.
    """

    width: int
    height: int
    samples: int = 8
    threads: int = 1


@dataclass(frozen=True)
class Rendered:
    """One rendered view.

    Attributes:
        image: (H, W, 3) uint8 sRGB.
        depth_m: (H, W) float32 metres along the optical axis, 0 where there is nothing.
        is_glass: (H, W) bool, the depth is that of a pane or a window.
        camera: pinhole camera of the image.
    """

    image: np.ndarray
    depth_m: np.ndarray
    is_glass: np.ndarray
    camera: Camera


class Renderer:
    """Renders views of one stage; the scene is handed to Cycles once and kept there.

    Args:
        stage: the filled stage.
        picture: of every view.
    """

    def __init__(self, stage: Stage, picture: PictureSettings) -> None:
        self.width, self.height = picture.width, picture.height
        self._stage, self._scene = stage, stage.scene
        self._object = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
        self._scene.collection.objects.link(self._object)
        self._scene.camera = self._object
        configure(self._scene, picture)

    def render(self, view: View, key: float = 0.14) -> Rendered:
        """Render one view, exposed so that its mean brightness comes out as `key` (0..1)."""
        self._aim(view)
        radiance = self._radiance()
        camera = Camera.from_horizontal_fov(self.width, self.height, view.horizontal_fov)
        return Rendered(photograph(radiance, key), *self._surfaces(view), camera)

    def _surfaces(self, view: View) -> tuple[np.ndarray, np.ndarray]:
        """Return what `Rendered` has as `depth_m` and `is_glass`."""
        rays = view.rays(self.width, self.height, self.height / self.width)
        lengths = np.linalg.norm(rays, axis=1)
        directions = rays / lengths[:, None]
        ways, _, is_glass = self._stage.first_surfaces(np.array(view.position), directions)
        depth = np.where(np.isfinite(ways), ways / lengths, 0.0).astype(np.float32)
        shape = (self.height, self.width)
        return depth.reshape(shape), is_glass.reshape(shape)

    def _aim(self, view: View) -> None:
        """Put the Blender camera, which looks along -z with y up, where the view is."""
        right, down, forward = view.axes()
        pose = Matrix.Identity(4)
        for column, axis in enumerate((right, -down, -forward, np.array(view.position))):
            for row in range(3):
                pose[row][column] = axis[row]
        self._object.matrix_world = pose
        self._object.data.sensor_fit = "HORIZONTAL"
        self._object.data.angle = view.horizontal_fov
        self._object.data.clip_start, self._object.data.clip_end = 0.01, FAR_M

    def _radiance(self) -> np.ndarray:
        """Render; returns linear radiance (H, W, 3) float32."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "colour.exr"
            self._scene.render.filepath = str(path)
            with silence():
                bpy.ops.render.render(write_still=True)
            with OpenEXR.File(str(path), separate_channels=True) as exr:
                channels = exr.channels()
                return np.stack([channels[c].pixels.astype(np.float32) for c in "RGB"], axis=-1)


def configure(scene, picture: PictureSettings) -> None:
    """Set Cycles for small, quick, repeatable indoor pictures with float colour."""
    render, cycles = scene.render, scene.cycles
    render.engine, cycles.device = "CYCLES", "CPU"
    render.resolution_x, render.resolution_y = picture.width, picture.height
    render.resolution_percentage = 100
    render.use_persistent_data = True
    render.threads_mode = "FIXED" if picture.threads > 0 else "AUTO"
    if picture.threads > 0:
        render.threads = picture.threads
    cycles.seed, cycles.use_adaptive_sampling = 0, False
    cycles.samples, cycles.filter_width, cycles.max_bounces = picture.samples, 1.2, 4
    cycles.use_denoising = True
    cycles.denoising_prefilter, cycles.denoising_quality = "FAST", "BALANCED"
    cycles.denoiser, cycles.pixel_filter_type = "OPENIMAGEDENOISE", "GAUSSIAN"
    cycles.diffuse_bounces, cycles.glossy_bounces, cycles.transmission_bounces = 3, 2, 0
    cycles.caustics_reflective = False
    cycles.sample_clamp_indirect = 5.0  # fireflies
    settings = render.image_settings
    settings.file_format, settings.color_depth = "OPEN_EXR", "32"


@contextmanager
def silence() -> Iterator[None]:
    """Send what the process prints to nowhere: Blender prints lines for every picture and model.

    Errors of Blender are raised as exceptions all the same.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    kept, nowhere = (os.dup(1), os.dup(2)), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        for stream, copy in zip((1, 2), kept, strict=True):
            os.dup2(copy, stream)
            os.close(copy)
        os.close(nowhere)


def photograph(radiance: np.ndarray, key: float) -> np.ndarray:
    """Develop linear radiance (H, W, 3) float32 into an sRGB picture (H, W, 3) uint8.

    Exposure brings the geometric mean of luminance to `key` (Reinhard et al. 2002, eq. 1 and 2).
    Highlights roll off by x (a x + b) / (x (c x + d) + e), Narkowicz's 2015 fit of the ACES curve.
    """
    luminance = radiance @ np.array([0.2126, 0.7152, 0.0722], np.float32)
    mean = math.exp(float(np.mean(np.log(np.maximum(luminance, 0) + 1e-4))))
    x = np.maximum(radiance, 0) * (key / mean) / 0.6  # the fit darkens mid grey by about 0.6
    linear = np.clip(x * (2.51 * x + 0.03) / (x * (2.43 * x + 0.59) + 0.14), 0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return (encoded * 255 + 0.5).astype(np.uint8)
