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

"""Which frames show something new."""

import numpy as np
from recording_files import picture

from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.tools.keyframes import Keyframes, KeyframeSettings


def kept(chosen: Keyframes, pose: Pose) -> bool:
    is_new = chosen.is_new_pose(pose)
    if is_new:
        chosen.keep(picture(0), pose)
    return is_new


def test_travel_or_turn_make_a_frame_new():
    chosen = Keyframes(KeyframeSettings(travel_m=0.2, turn_rad=0.1))
    poses = [Pose.from_mount(0.5, pitch, 0.0, x) for x, pitch in
             ((0, 0), (0.1, 0), (0.19, 0.05), (0.21, 0), (0.3, 0.2), (0.3, 0.25))]  # fmt: skip
    assert [kept(chosen, pose) for pose in poses] == [True, False, False, True, True, False]


def test_pictures_are_new_by_what_they_show_and_not_by_their_exposure():
    chosen = Keyframes(KeyframeSettings(change=0.03))
    first = picture(0, 320, 240) // 2
    assert chosen.is_new_picture(first) and chosen.is_new_picture(first)
    chosen.keep(first)
    assert not chosen.is_new_picture(first + np.uint8(60))
    noisy = first + np.random.default_rng(0).integers(0, 20, first.shape).astype(np.uint8)
    assert not chosen.is_new_picture(noisy)
    assert chosen.is_new_picture(first[:, ::-1])
    chosen.keep(first[:, ::-1])
    assert not chosen.is_new_picture(first[:, ::-1])
