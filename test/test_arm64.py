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

"""What a robot needs has wheels for arm64, on the Pythons of Humble and Jazzy."""

import arm64
import pytest

OFFLINE = ("error sending request", "Failed to fetch", "dns error", "Could not connect")


def releases(wanted, python):
    found, why = arm64.resolved(wanted, python, arm64.BOARDS[python])
    if any(word in why for word in OFFLINE):
        pytest.skip("no package index can be reached")
    return {one.partition("==")[0] for one in found}, why


@pytest.mark.skipif(arm64.find_uv() is None, reason="uv is not installed")
@pytest.mark.parametrize("python", arm64.BOARDS)
def test_every_requirement_has_a_wheel(python):
    extras = ("-", "openvino", "bags", "tensorrt", "view", "train")
    wanted = sorted({one for extra in extras for one in arm64.requirements(extra)})
    found, why = releases(wanted, python)
    assert {"numpy", "opencv-python-headless", "openvino", "rosbags", "torch"} <= found, why
    assert len(found) >= len({one.split(";")[0] for one in wanted})


@pytest.mark.skipif(arm64.find_uv() is None, reason="uv is not installed")
def test_what_has_no_wheel_is_named():
    found, why = releases(["tensorrt-rtx>=1.2", "ros-rclpy"], "3.12")
    assert not found and ("ros-rclpy" in why or "tensorrt" in why)
