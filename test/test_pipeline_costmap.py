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

"""What a costmap gets of the pipeline, and what frames out of order and clocks set back do."""

import time
from array import array

import cv2
import numpy as np
import pytest
from pipeline_bench import BUNDLE, COSTMAP, FRAME, open_benches, open_engines, stamped
from std_msgs.msg import String
from transform_buffer import TransformBuffer, transform

from depthrefl_ros.ros.convert.clouds import cloud_message
from depthrefl_ros.ros.diagnostics import WARN
from depthrefl_ros.ros.intake import CLOCK_JUMP_S
from depthrefl_ros.ros.publishers import CLEARING, DEPTH_IMAGE, MARKING, SCAN

OPTICAL = (-0.5, 0.5, -0.5, 0.5)  # how an optical frame stands that looks ahead


@pytest.fixture(scope="module")
def engines():
    yield from open_engines()


@pytest.fixture
def make_bench(peer, engines):
    yield from open_benches(peer, engines)


def test_after_a_failure_one_message_without_evidence_and_then_silence(make_bench):
    bench = make_bench(*COSTMAP, camera_height=0.5)
    bench.process(header=stamped(10))
    bench.fail(True)
    for seconds in (11, 12, 13):
        counts = bench.process(header=stamped(seconds))
    assert counts["dropped_failed"] == 3
    assert {topic: counts[f"published_{topic}"] for topic in COSTMAP} == dict.fromkeys(COSTMAP, 2)
    received = bench.received
    assert bench.widths() == dict.fromkeys(COSTMAP, 2)
    for topic in (MARKING, CLEARING):
        assert received[topic][1].width == 0
    assert np.isnan(received[SCAN][1].ranges).all()
    # The last message's stamp: that time TF knows for sure, and a costmap's filter does not wait.
    for first, last in received.values():
        assert last.header == first.header and last.header.stamp.sec == 10
    bench.fail(False)
    assert bench.process(header=stamped(14))[f"published_{MARKING}"] == 3


@pytest.mark.parametrize("change", [{"encoding": "rgb9"}, {"width": 64, "height": 64, "step": 64}])
def test_a_bad_frame_silences_and_a_good_one_wakes(make_bench, change):
    bench = make_bench(*COSTMAP, camera_height=0.5)
    bench.process(header=stamped(10))
    for seconds in (11, 12):
        bench.process(header=stamped(seconds), **change)
    assert bench.widths() == dict.fromkeys(COSTMAP, 2)
    bench.process(header=stamped(13))
    assert bench.newest(13)[MARKING].width > 0


def test_a_transform_that_comes_too_late_is_told_and_the_next_one_is_taken(make_bench):
    mount = transform((0.1, 0.0, 0.7), OPTICAL)
    buffer = TransformBuffer({("base_footprint", FRAME): mount}, last_s=11.5)
    how = {"camera_height": 0.5, "transform_timeout": 0.05}
    bench = make_bench(*COSTMAP, open_buffer=buffer.open, **how)
    before = bench.process(header=stamped(11))
    after = bench.process(header=stamped(12))
    for topic in COSTMAP:  # one of the good frame, one to fall silent
        assert after[f"published_{topic}"] == before[f"published_{topic}"] + 1 == 2
    message = bench.status().message
    assert "no marking and clearing: no transform from 'camera_optical_frame'" in message
    assert "extrapolation into the future" in message and bench.status().level == WARN
    buffer.last_s = 20.0
    again = bench.process(header=stamped(13))
    assert all(again[f"published_{topic}"] > after[f"published_{topic}"] for topic in COSTMAP)


def test_while_tf_is_only_beginning_to_arrive_nothing_is_warned_of(peer, make_bench):
    bench = make_bench(*COSTMAP, open_buffer=TransformBuffer({}).open, camera_height=0.5)
    peer.node.create_publisher(String, "/tf_static", 1)
    assert peer.spin_until(lambda: bench.node.count_publishers("/tf_static"))
    bench.robot._listens_since_s = time.monotonic()
    assert bench.process(header=stamped(10)) == {"processed": 1}
    assert bench.status().message == "active"


def test_a_scan_has_its_own_frame_and_needs_it_in_tf(make_bench):
    known = {
        ("base_footprint", FRAME): transform((0.0, 0.0, 0.7), OPTICAL),
        ("lidar", FRAME): transform((1.0, 0.0, 0.2), OPTICAL),
    }
    buffer = TransformBuffer(known)
    bench = make_bench(*COSTMAP, open_buffer=buffer.open, scan_frame="lidar")
    bench.process(header=stamped(11))
    found = bench.newest(11)
    assert found[SCAN].header.frame_id == "lidar"
    assert found[MARKING].header.frame_id == FRAME
    del known["lidar", FRAME]
    counts = bench.process(header=stamped(12))
    assert "no scan: no transform from 'camera_optical_frame' to 'lidar'" in bench.status().message
    assert bench.process(header=stamped(13))[f"published_{MARKING}"] > counts[f"published_{SCAN}"]


def test_a_floor_in_view_has_no_place_in_tf_and_gives_no_scan(make_bench):
    bench = make_bench(*COSTMAP)
    room = cv2.resize(BUNDLE.golden().images[0, ..., :3], (160, 120))
    room = cv2.cvtColor(room, cv2.COLOR_RGB2GRAY)
    counts = bench.process(data=array("B", room.tobytes()), header=stamped(1))
    assert (counts.get(f"published_{MARKING}"), counts.get(f"published_{SCAN}")) == (1, None)
    assert bench.values()["camera_pose"].endswith("m up by floor")
    assert "no scan: no transform" in bench.status().message


def test_a_scale_that_cannot_be_right_silences_the_costmap_and_not_the_depth(make_bench):
    bench = make_bench(*COSTMAP, DEPTH_IMAGE, camera_height=0.5)
    bench.process(header=stamped(10))
    bench.set(camera_height=0.5, scale_correction="reference_points")
    far = np.random.default_rng(1).uniform((-16, -12, 60), (16, 12, 60), (400, 3))
    for seconds in (11, 12):
        cloud = cloud_message(far.astype(np.float32), ("x", "y", "z"))
        cloud.header = stamped(seconds)
        bench.robot.take("reference_points", cloud)
        counts = bench.process(header=stamped(seconds))
    assert counts["published_depth/image"] == 3
    assert all(counts[f"published_{topic}"] == 2 for topic in COSTMAP)
    assert bench.widths()[MARKING] == 2 and bench.received[MARKING][1].width == 0
    assert "no marking and clearing: " in bench.status().message
    assert bench.values()["scale_factor"] == "2"


# Time.


def scale_is_remembered(bench, seconds: float) -> bool:
    """Whether the factor that the first frame gave still holds at a frame without evidence."""
    bench.process(header=stamped(seconds))
    return bench.values()["scale_factor"] != "1"


@pytest.fixture
def remembering(make_bench):
    """Return a pipeline at 10 s that remembers a factor of the scale, and its TF buffer."""
    buffer = TransformBuffer({})
    bench = make_bench(
        *(MARKING, DEPTH_IMAGE),
        open_buffer=buffer.open,
        **{"camera_height": 0.5, "scale_correction": "reference_points"},
    )
    points = np.random.default_rng(1).uniform((-0.8, -0.6, 2.5), (0.8, 0.6, 2.5), (400, 3))
    cloud = cloud_message(points.astype(np.float32), ("x", "y", "z"))
    cloud.header = stamped(10)
    bench.robot.take("reference_points", cloud)
    bench.process(header=stamped(10))
    assert bench.values()["scale_factor"] != "1"
    return bench, buffer


@pytest.mark.parametrize("early_s", [0.001, 0.5, CLOCK_JUMP_S - 0.01])
def test_a_frame_out_of_order_is_dropped_and_nothing_is_forgotten(remembering, early_s):
    bench, buffer = remembering
    before = bench.diagnostics.counts()
    after = bench.process(header=stamped(10.0 - early_s))
    assert after == {**before, "dropped_out_of_order": 1}  # and the costmap keeps its marks
    assert "before the last frame's: dropped" in bench.status().message
    assert not buffer.was_cleared
    # It is not the new last one either.
    assert bench.process(header=stamped(10.0 - early_s / 2))["dropped_out_of_order"] == 2
    assert scale_is_remembered(bench, 10.1)


def test_a_clock_that_is_set_back_begins_anew(remembering):
    bench, buffer = remembering
    before = bench.diagnostics.counts()["processed"]
    assert not scale_is_remembered(bench, 10.0 - CLOCK_JUMP_S - 0.01)
    assert buffer.was_cleared
    assert bench.diagnostics.counts()["processed"] == before + 1


def test_a_clock_that_goes_on_forgets_nothing_however_far(remembering):
    bench, buffer = remembering
    assert scale_is_remembered(bench, 10_000.0)
    assert not buffer.was_cleared


def test_what_is_forgotten_from_outside_is_forgotten_before_the_next_frame(remembering):
    bench, buffer = remembering
    bench.pipeline.forget()
    assert not buffer.was_cleared
    assert not scale_is_remembered(bench, 9.9)  # whose stamp is no longer out of order
    assert buffer.was_cleared
    buffer.was_cleared = False
    bench.process(header=stamped(10.0))
    assert not buffer.was_cleared
