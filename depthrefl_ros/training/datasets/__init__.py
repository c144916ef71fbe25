# SPDX-License-Identifier: Apache-2.0
"""Images with metric depth and intrinsics: one module a format, ``opening`` finds the right one."""

from depthrefl_ros.training.datasets.image_folder import DatasetError, ImageFolder, Sample
from depthrefl_ros.training.datasets.kitti import KittiDepth
from depthrefl_ros.training.datasets.nyu import NyuFolder, NyuMat
from depthrefl_ros.training.datasets.opening import (
    KINDS,
    DataOption,
    open_dataset,
    parse_data_option,
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
]
