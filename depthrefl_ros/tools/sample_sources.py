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

"""Where images with true depth come from: a data set in files, or a recording."""

from __future__ import annotations

from depthrefl_ros.tools.bag_files import is_recording
from depthrefl_ros.tools.command_line import ToolError
from depthrefl_ros.training.datasets import DataOption, ImageFolder


def open_samples(
    option: DataOption, image_topic: str | None = None, truth_topic: str | None = None
) -> ImageFolder:
    """Return what a ``--data`` option names: a data set, or a recording with true depth.

    Args:
        option: of the command line.
        image_topic: of a recording, as for ``RecordedSamples``.
        truth_topic: likewise.

    Raises:
        DatasetError: as ``open_dataset``.
        ToolError: as ``RecordedSamples``, or the option has a list, kind, unit or mounts of a
            recording.
    """
    if not is_recording(option.path):
        return option.open()
    if option.list_file or option.kind or option.depth_factor or option.mounts_file:
        raise ToolError(
            f"{option.path}: list, kind, depth_factor and mounts are not for recordings"
        )
    from depthrefl_ros.tools.recorded_samples import RecordedSamples

    return RecordedSamples(option.path, image_topic, truth_topic)
