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

"""Images with metric depth and intrinsics: one module a format, ``opening`` finds the right one."""

from depthrefl_ros.training.datasets.image_folder import DatasetError, ImageFolder, Sample
from depthrefl_ros.training.datasets.kitti import KittiDepth
from depthrefl_ros.training.datasets.nyu import NyuFolder, NyuMat
from depthrefl_ros.training.datasets.opening import (
    KINDS,
    DataOption,
    open_dataset,
    parse_data_option,
    parse_data_options,
)
from depthrefl_ros.training.datasets.plain import PlainFolder
from depthrefl_ros.training.datasets.tum import TumRgbd

__all__ = [
    "KINDS",
    "DataOption",
    "DatasetError",
    "ImageFolder",
    "KittiDepth",
    "NyuFolder",
    "NyuMat",
    "PlainFolder",
    "Sample",
    "TumRgbd",
    "open_dataset",
    "parse_data_option",
    "parse_data_options",
]
