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

"""Small bundles, exported as the shipped ones are: told the mount, or any small network's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from small_network import told_network

from depthrefl_ros.engine.bundle import Bundle
from depthrefl_ros.engine.export import export_bundle
from depthrefl_ros.network.model import DepthModel
from depthrefl_ros.tools.golden_images import with_planes


def told_bundle(folder: Path) -> Bundle:
    """Write the bundle, with random weights and hints that are not zero, and load it."""
    return small_bundle(folder, told_network())


def small_bundle(folder: Path, network: DepthModel) -> Bundle:
    """Write the bundle of a network of 64 x 64 pixels, and load it."""
    images = np.random.default_rng(0).integers(0, 255, (3, 64, 64, 3), np.uint8)
    description = {"range_m": {"min": 0.3, "max": 8.0}, "licence": "made by a test"}
    export_bundle(network, folder, description, with_planes(images, network.config))
    return Bundle.load(str(folder))
