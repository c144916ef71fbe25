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

"""The parameters as a frame uses them: the model's range filled in, the files read."""

from __future__ import annotations

from dataclasses import dataclass

import cv2

from depthrefl_ros.engine.bundle import Bundle
from depthrefl_ros.estimator import EstimatorSettings
from depthrefl_ros.frames import SelfMask
from depthrefl_ros.geometry.calibration_file import load_calibration
from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.ros.parameters import Parameters
from depthrefl_ros.settings import SettingError

_LARGEST_MASK = 1 << 26  # pixels


@dataclass(frozen=True, eq=False)
class FrameSettings:
    """The parameters as a frame uses them: the model's range filled in, the files read.

    Attributes:
        parameters: as the user set them.
        estimator: with the model's range where the user gave none.
        calibration: from ``camera_info_url``, or None.
        mask: from ``self_mask``, or None.
    """

    parameters: Parameters
    estimator: EstimatorSettings
    calibration: Camera | None
    mask: SelfMask | None

    @classmethod
    def of(
        cls, parameters: Parameters, bundle: Bundle, before: FrameSettings | None = None
    ) -> FrameSettings:
        """Read the files that the parameters name, and fit the values to the model.

        Args:
            parameters: the new values.
            bundle: the model.
            before: settings whose files are taken over where their parameters are the same.

        Raises:
            ValueError: a file cannot be used, or a value does not fit the model; names it.
        """
        estimator = parameters.estimator.with_range_of(bundle.min_range_m, bundle.max_range_m)
        url, path = parameters.inputs.camera_info_url, parameters.inputs.self_mask
        if before is not None and url == before.parameters.inputs.camera_info_url:
            calibration = before.calibration
        else:
            calibration = load_calibration(url, _package_share) if url else None
        if before is not None and path == before.parameters.inputs.self_mask:
            mask = before.mask
        else:
            mask = load_mask(path) if path else None
        return cls(parameters, estimator, calibration, mask)


def load_mask(path: str) -> SelfMask:
    """Read the mask in an image file.

    Raises:
        SettingError: no picture of a camera's size can be read from the file.
    """
    wanted = "it must be an image file of the camera's size, such as a PNG"
    try:
        pixels = cv2.imread(path, cv2.IMREAD_GRAYSCALE)
    except cv2.error as error:
        raise SettingError(f"self_mask is {path!r}: {error}; {wanted}") from error
    if pixels is None:
        raise SettingError(f"self_mask is {path!r}; {wanted}")
    if pixels.size > _LARGEST_MASK:
        height, width = pixels.shape
        raise SettingError(f"self_mask {path!r} is {width}x{height}; {wanted}")
    return SelfMask(pixels)


def _package_share(package: str) -> str:
    """Return the share folder of a ROS package, for ``package://``."""
    from ament_index_python.packages import get_package_share_directory

    return get_package_share_directory(package)
