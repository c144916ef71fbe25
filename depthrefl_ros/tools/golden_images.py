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

"""The images that a bundle's self-test and its int8 file are made with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from depthrefl_ros.tools.command_line import ToolError

if TYPE_CHECKING:
    from depthrefl_ros.network.model import ModelConfig

# Height in metres, pitch and roll in radians: a low robot's, a tall one's, one that looks up.
_PLAUSIBLE_MOUNTS = ((0.3, 0.1, 0.0), (1.2, 0.35, 0.03), (0.6, -0.05, -0.02), (0.9, 0.6, 0.0))


def with_planes(images: np.ndarray, config: ModelConfig) -> np.ndarray:
    """Return images as the network takes them: those without the mount's plane get some.

    Args:
        images: (n, H, W, 3 or more) uint8 RGB.
        config: of the network.

    Returns:
        (n, H, W, channels) uint8: the planes are those of plausible mounts, turn and turn about
        with none, since the images' own are not known. RGB alone where the network takes no mount.
    """
    from depthrefl_ros.geometry.camera import Camera
    from depthrefl_ros.geometry.floor_plane import encoded_floor
    from depthrefl_ros.geometry.pose import Pose

    if images.shape[-1] >= config.channels:
        return images[..., : config.channels]
    middle = ((config.width - 1) / 2, (config.height - 1) / 2)
    camera = Camera.pinhole(config.width, config.height, *2 * (config.focal_px,), *middle)
    told = np.zeros((*images.shape[:3], config.channels), np.uint8)
    told[..., :3] = images
    for turn, image in enumerate(told[::2]):
        mount = Pose.from_mount(*_PLAUSIBLE_MOUNTS[turn % len(_PLAUSIBLE_MOUNTS)])
        image[..., 3] = encoded_floor(camera, mount, config.focal_px)
    return told


def read_golden(paths: list[Path], width: int, height: int) -> np.ndarray:
    """Return images for the self-test, (n, height, width, 3) uint8 RGB.

    Raises:
        ToolError: a file is no image.
    """
    images = []
    for path in paths:
        image = cv2.imread(str(path))
        if image is None:
            raise ToolError(f"{path} is no image that OpenCV reads")
        rgb = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
        images.append(cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA))
    return np.stack(images)


def read_calibration(folder: Path, width: int, height: int) -> np.ndarray:
    """Return a folder's images as the network sees them, (n, height, width, 3) uint8 RGB.

    Raises:
        ToolError: there are none, or one cannot be read.
    """
    from depthrefl_ros.geometry.camera import Camera
    from depthrefl_ros.geometry.rectification import Rectification
    from depthrefl_ros.image_files import ImageFileError, list_images, read_image

    inputs = []
    try:
        for path in list_images(folder):
            image = read_image(path)
            rows, columns = image.shape[:2]
            # The focal length says nothing here: nothing is undistorted.
            camera = Camera.pinhole(columns, rows, columns, columns, columns / 2, rows / 2)
            inputs.append(Rectification(camera, True, (width, height)).to_network(image))
    except (ImageFileError, OSError) as error:
        raise ToolError(str(error)) from error
    if not inputs:
        raise ToolError(f"--int8 is {folder}; it has no images")
    return np.stack(inputs)
