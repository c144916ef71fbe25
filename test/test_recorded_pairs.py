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

"""Pairs of images and depth by their stamps, in the order in which they were recorded."""

from recording_files import camera_recording

from depthrefl_ros.tools.camera_info_file import Intrinsics
from depthrefl_ros.tools.recorded_pairs import RecordedPairs, mutually_nearest
from depthrefl_ros.tools.recording_source import RecordingSource
from depthrefl_ros.tools.recordings import Recording, stamp_ns


def test_each_is_the_nearest_of_the_other():
    images, depths = [0, 33, 66, 100, 133], [10, 60, 110, 500]
    assert mutually_nearest(images, depths, 20) == {0: 10, 66: 60, 100: 110}
    assert mutually_nearest(images, depths, 9) == {66: 60}
    assert mutually_nearest([], depths, 9) == {} == mutually_nearest(images, [], 9)


def test_pairs_are_read_once_and_only_those_that_are_wanted(tmp_path):
    path = camera_recording(tmp_path / "a.mcap", 5, truth_m=2.0)
    source = RecordingSource(path, Intrinsics(), None)
    asked = []
    with Recording(path) as recording:
        pairs = RecordedPairs(recording, source, "/camera/depth_truth/compressed", 0.02)
        assert (len(pairs), pairs.images, pairs.depths) == (5, 5, 5)
        read = list(pairs.read(recording, lambda stamp: asked.append(stamp) or len(asked) != 2))
    assert asked == sorted(asked) and len(asked) == 5
    assert [frame.name for frame, _ in read] == ["0", "2", "3", "4"]
    assert all(frame.stamp_ns == stamp_ns(message) for frame, message in read)
    assert read[0][0].camera_info.width == 64
