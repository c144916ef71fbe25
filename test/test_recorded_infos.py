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

"""Which CameraInfo of a recording counts for an image."""

import pytest

pytest.importorskip("rclpy")

from recording_files import FIRST_NS, PERIOD_NS, image_message, info_message, write_recording

from depthrefl_ros.tools.command_line import UnreadableError
from depthrefl_ros.tools.recorded_infos import RecordedInfos
from depthrefl_ros.tools.recordings import Recording

FOCAL_PX = (60.0, 60.0, 80.0, 80.0, 60.0)


@pytest.fixture
def zoom(tmp_path):
    """Return the CameraInfo of a lens that zooms in and out."""
    infos = [info_message(number) for number in range(5)]
    for info, focal_px in zip(infos, FOCAL_PX, strict=True):
        info.k[0] = focal_px
    topics = {"/cam/camera_info": infos, "/cam/image_raw": [image_message(0)]}
    with Recording(write_recording(tmp_path / "a.mcap", topics)) as recording:
        yield RecordedInfos(recording, "/cam/camera_info")


def test_the_newest_that_is_not_after_the_image_counts(zoom):
    for number, focal_px in enumerate(FOCAL_PX):
        assert zoom.at(FIRST_NS + number * PERIOD_NS).k[0] == focal_px
    assert zoom.at(FIRST_NS + 2 * PERIOD_NS - 1).k[0] == 60.0
    assert zoom.at(FIRST_NS + 2 * PERIOD_NS + 1).k[0] == 80.0
    assert (zoom.at(0).k[0], zoom.at(2 * FIRST_NS).k[0]) == (60.0, 60.0)


def test_what_repeats_the_one_before_is_not_kept(zoom):
    assert [info.k[0] for info in zoom] == [60.0, 80.0, 60.0]


def test_one_that_can_be_used_is_enough(zoom):
    def is_long(focal_px):
        def check(info):
            if info.k[0] < focal_px:
                raise UnreadableError("too short")

        return check

    assert zoom.is_any_usable(is_long(70.0))
    assert not zoom.is_any_usable(is_long(90.0))
