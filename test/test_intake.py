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

"""Which images come in, with which camera and time, by the real pipeline and engine."""

import re
from array import array
from dataclasses import replace

import cv2
import numpy as np
import pytest
from pipeline_bench import HEIGHT, WIDTH, open_benches, open_engines, stamped
from sensor_msgs.msg import CompressedImage

from depthrefl_ros.ros.diagnostics import OK, WARN
from depthrefl_ros.ros.intake import Intake
from depthrefl_ros.ros.publishers import DEPTH_IMAGE


@pytest.fixture(scope="module")
def engines():
    yield from open_engines()


@pytest.fixture
def bench(peer, engines):
    for make in open_benches(peer, engines):
        yield make(DEPTH_IMAGE)


def test_a_frame_that_waited_too_long_is_dropped(bench):
    assert bench.process(waited_s=1.5) == {"dropped_too_old": 1}
    bench.set(max_age=0.0)
    assert bench.process(waited_s=1.5)["processed"] == 1


def test_a_frame_with_a_stamp_too_old_is_dropped_where_the_user_wants_that(bench):
    now_s = bench.node.get_clock().now().nanoseconds * 1e-9
    assert bench.process(header=stamped(now_s - 5.0))["processed"] == 1
    bench.set(max_stamp_age=3.0)
    assert bench.process(header=stamped(now_s - 4.9))["dropped_too_old"] == 1
    assert bench.process(header=stamped(now_s))["processed"] == 2


def test_stamps_that_stay_too_old_are_a_warning_and_a_single_one_is_none(bench):
    now_s = bench.node.get_clock().now().nanoseconds * 1e-9
    bench.set(max_stamp_age=1.0)
    bench.process(header=stamped(now_s - 3.2))
    assert bench.status().level == OK
    bench.process(header=stamped(now_s))
    bench.process(header=stamped(now_s - 3.2))
    assert bench.status().level == OK
    assert bench.process(header=stamped(now_s - 3.2))["dropped_too_old"] == 3
    assert bench.status().level == WARN
    assert re.search(
        r"/image: stamps are 3\.\d s old, max_stamp_age is 1 s: do the clocks of camera and robot",
        bench.status().message,
    )


@pytest.mark.parametrize(
    "seconds, told",
    [(-5, "stamps are 1[0-9.]+ s old, max_stamp_age is 1 s"), (0, "images have no stamp")],
)
def test_stamps_that_no_clock_gives_are_too_old(bench, seconds, told):
    bench.set(max_stamp_age=1.0)
    for _ in range(2):
        counts = bench.process(header=stamped(seconds))
    assert counts == {"dropped_too_old": 2}
    assert re.search(told, bench.status().message)


def test_images_that_keep_waiting_too_long_are_a_warning(bench):
    for _ in range(2):
        bench.process(waited_s=1.5)
    assert bench.status().level == WARN
    assert "/image: images wait 1.5 s for the node, max_age is 1 s" in bench.status().message


def test_a_camera_info_of_another_image_is_told_with_both_topics(bench):
    bench.give_camera(64, 64)
    assert bench.process() == {"dropped_bad_camera_info": 1}
    message = bench.status().message
    assert "/camera_info: " in message and "64x64" in message and "images come on /image" in message


def test_a_mask_of_another_size_is_told(bench, tmp_path):
    path = tmp_path / "mask.png"
    cv2.imwrite(str(path), np.zeros((10, 20), np.uint8))
    bench.set(self_mask=str(path))
    assert bench.process() == {"dropped_bad_mask": 1}
    assert "self_mask is 20x10; the image on /image is 160x120" in bench.status().message


def test_an_assumed_field_of_view_is_warned_of(bench):
    bench.cameras._infos.clear()
    bench.set(assumed_horizontal_fov=60.0)
    assert bench.process()["processed"] == 1
    assert bench.status().level == WARN
    assert "assumed_horizontal_fov 60 deg, so the scale is a guess" in bench.status().message
    assert "assumed_horizontal_fov 60 deg" in bench.values()["camera"]


def grey16(bench, values, encoding="mono16"):
    values = np.broadcast_to(values, (HEIGHT, WIDTH)).astype("<u2")
    data = array("B", values.tobytes())
    return bench.frame(encoding=encoding, step=2 * WIDTH, data=data)


def test_the_bits_that_a_camera_uses_are_those_of_its_own_stream(bench):
    """Two nodes of one process do not learn from each other's cameras."""

    def shown(intake, value):
        received = grey16(bench, value)
        return intake.frame(received.message, received.settings).image[0, 0]

    intake = bench.pipeline._intake
    assert [shown(intake, value) for value in (4000, 800)] == [4000 >> 4, 800 >> 4]
    intake.forget()  # a jump of the clock makes no other camera of it
    assert shown(intake, 800) == 800 >> 4
    other = Intake(bench.cameras, bench.diagnostics, bench.node.get_clock(), "/image", None)
    assert shown(other, 800) == 800 >> 2


@pytest.mark.parametrize("encoding, is_told", [("16UC1", True), ("mono16", False)])
def test_a_picture_that_may_be_depth_is_doubted_and_taken(bench, encoding, is_told):
    received = grey16(bench, 1500, encoding)
    bench.pipeline.process(received)
    assert bench.diagnostics.counts()["processed"] == 1
    said = "/image: encoding is '16UC1', as depth images have it, and is taken for grey"
    assert (said in bench.status().message) is is_told


def test_a_compressed_picture_that_may_be_depth_is_doubted_and_taken(bench):
    received = grey16(bench, 1500)
    values = np.frombuffer(received.message.data, "<u2").reshape(HEIGHT, WIDTH)
    png = cv2.imencode(".png", values)[1].tobytes()
    message = CompressedImage(header=received.message.header, format="16UC1; png compressed ")
    message.data = array("B", png)
    bench.pipeline.process(replace(received, message=message))
    assert bench.diagnostics.counts()["processed"] == 1
    assert "encoding is '16UC1'" in bench.status().message


def test_frames_of_one_stamp_are_in_order(bench):
    for _ in range(2):
        counts = bench.process(header=stamped(5))
    assert counts["processed"] == 2


def test_a_camera_without_stamps_goes_by_the_time_of_receipt(bench):
    for _ in range(3):
        counts = bench.process(header=stamped(0))
    assert counts == {"processed": 3, "published_depth/image": 3}
