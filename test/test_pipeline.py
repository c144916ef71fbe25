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

"""One frame at a time through the real pipeline, engine and publishers, without the executable."""

from array import array

import cv2
import numpy as np
import pytest
from pipeline_bench import (
    BUNDLE,
    COSTMAP,
    FRAME,
    WIDTH,
    open_benches,
    open_engines,
    stamped,
)
from sensor_msgs.msg import Image

from depthrefl_ros import estimator
from depthrefl_ros.geometry import correction, floor_check
from depthrefl_ros.ros import obstacle_publisher, publishers
from depthrefl_ros.ros.diagnostics import ERROR
from depthrefl_ros.ros.publishers import (
    CLEARING,
    DEPTH_CONFIDENCE,
    DEPTH_IMAGE,
    DEPTH_PREVIEW,
    DEPTH_RELATIVE,
    MARKING,
    POINTS,
    SCAN,
)


@pytest.fixture(scope="module")
def engines():
    yield from open_engines()


@pytest.fixture
def make_bench(peer, engines):
    yield from open_benches(peer, engines)


@pytest.fixture
def bench(make_bench):
    return make_bench(DEPTH_IMAGE)


def plane(message) -> np.ndarray:
    return np.frombuffer(message.data, np.float32).reshape(message.height, message.width)


# Frames that are dropped, and why.


def test_a_failing_engine_drops_the_frame_and_the_next_one_is_processed(bench, capfd):
    bench.fail(True)
    assert bench.process() == {"dropped_failed": 1}
    assert bench.process() == {"dropped_failed": 2}
    assert bench.pipeline.engine_failures == 2
    assert bench.status().level == ERROR
    assert "a frame failed: Traceback" in capfd.readouterr().err
    bench.fail(False)
    assert bench.process() == {"dropped_failed": 2, "processed": 1, "published_depth/image": 1}
    assert bench.pipeline.engine_failures == 0


def test_what_fails_beside_the_engine_is_no_failure_of_the_engine(bench, monkeypatch):
    monkeypatch.setattr(bench.estimator, "believe", lambda *_: 1 / 0)
    assert bench.process() == {"dropped_failed": 1}
    assert bench.pipeline.engine_failures == 0
    assert "a frame failed: ZeroDivisionError" in bench.status().message


def test_an_image_that_cannot_be_prepared_is_no_failure_of_the_engine(bench, monkeypatch):
    monkeypatch.setattr(estimator, "network_view", lambda *_: 1 / 0)
    for number in range(1, 8):
        assert bench.process() == {"dropped_failed": number}
    assert bench.pipeline.engine_failures == 0


def test_a_frame_that_nobody_wants_is_not_computed(make_bench):
    nobody = make_bench()
    nobody.fail(True)
    assert nobody.process() == {"dropped_no_listener": 1}


def test_what_repeats_is_logged_once(make_bench, capfd):
    bench = make_bench(DEPTH_IMAGE)
    bench.cameras._infos.clear()
    for _ in range(20):
        counts = bench.process()
    assert counts == {"dropped_no_camera_info": 20}
    for _ in range(20):
        counts = bench.process(encoding="rgb9")
    assert counts["dropped_bad_image"] == 20
    logged = capfd.readouterr().err
    assert logged.count("no CameraInfo on /camera_info") == 1
    assert logged.count("/image: encoding is 'rgb9'") == 1


# Settings come with the frame.


def test_each_frame_takes_the_settings_of_its_receipt(bench):
    bench.set(max_range=0.5, optical_frame_id="corrected")
    first = bench.frame(header=stamped(1))
    bench.set(output_size="network")
    second = bench.frame(header=stamped(2))
    for received in (first, second):
        bench.pipeline.process(received)
    image = bench.newest(1)[DEPTH_IMAGE]
    assert (image.width, image.header.frame_id) == (WIDTH, "corrected")
    assert np.isposinf(plane(image)).mean() > 0.5
    image = bench.newest(2)[DEPTH_IMAGE]
    assert (image.width, image.header.frame_id) == (BUNDLE.width, FRAME)
    assert np.isfinite(plane(image)).mean() > 0.5


def test_a_gate_that_takes_all_is_warned_of(bench):
    bench.set(min_confidence=0.99)
    bench.process()
    assert float(bench.values()["gated_confidence_percent"]) > 99.0
    expected = "the gate 'confidence' takes 100 % of the pixels: no depth is left"
    assert expected in bench.status().message


def test_the_first_depth_is_told_once(bench):
    bench.fail(True)
    bench.process()
    assert not bench.first
    bench.fail(False)
    for seconds in (1, 2, 3):
        bench.process(waited_s=0.5, header=stamped(seconds))
    (told,) = bench.first
    words = told.split()
    assert told.startswith("first depth is out, ") and told.endswith("160x120 image on /image")
    assert 500 <= int(words[words.index("ms") - 1]) < 5000


# What is published.


def test_confidence_and_order_are_unknown_wherever_depth_is(make_bench, tmp_path):
    """Under the self mask, in the padding of a wide image, and where a gate took the depth."""
    width, height = WIDTH, 80
    mask = np.zeros((height, width), np.uint8)
    mask[:, :40] = 255
    path = tmp_path / "mask.png"
    cv2.imwrite(str(path), mask)
    bench = make_bench(
        *(DEPTH_IMAGE, DEPTH_CONFIDENCE, DEPTH_RELATIVE),
        **{"self_mask": str(path), "edge_ratio": 1.02},
    )
    for number, changes in enumerate(({}, {"output_size": "network"}, {"aspect_fit": "crop"}), 1):
        bench.set(self_mask=str(path), edge_ratio=1.02, **changes)
        bench.give_camera(width, height)
        # Green is grey enough.
        room = cv2.resize(BUNDLE.golden().images[2, ..., 1], (width, height))
        data = array("B", room.tobytes())
        bench.process(header=stamped(number), width=width, height=height, step=width, data=data)
        planes = {topic: plane(one) for topic, one in bench.newest(number).items()}
        unknown = np.isnan(planes[DEPTH_IMAGE])
        assert 0.25 < unknown.mean() < 1.0
        if not changes:
            assert unknown[:, :40].all() and not unknown[:, 42:].all()
        for topic in (DEPTH_CONFIDENCE, DEPTH_RELATIVE):
            np.testing.assert_array_equal(np.isnan(planes[topic]), unknown)


@pytest.mark.parametrize(
    "module, function, failing, others",
    [
        (obstacle_publisher, "obstacle_clouds", (MARKING, CLEARING), (SCAN, DEPTH_IMAGE, POINTS)),
        (obstacle_publisher, "scan_ranges", (SCAN,), (MARKING, CLEARING, DEPTH_IMAGE, POINTS)),
        (publishers, "depth_preview", (DEPTH_PREVIEW,), (*COSTMAP, DEPTH_IMAGE, POINTS)),
    ],
)
def test_each_output_stands_for_itself(
    make_bench, monkeypatch, capfd, module, function, failing, others
):
    bench = make_bench(*failing, *others, camera_height=0.5)
    bench.process(header=stamped(1))
    bench.newest(1)
    monkeypatch.setattr(module, function, lambda *_: 1 / 0)
    counts = bench.process(header=stamped(2))
    assert (counts["processed"], counts.get("dropped_failed", 0)) == (2, 0)
    for topic in others:
        assert counts[f"published_{topic}"] == 2
    told_costmap = set(failing) <= set(COSTMAP)  # one last message, without evidence
    for topic in failing:
        assert counts[f"published_{topic}"] == (2 if told_costmap else 1)
    status = bench.status()
    assert status.level == ERROR and "failed: ZeroDivisionError" in status.message
    assert all(topic in status.message for topic in failing)
    assert "failed: Traceback" in capfd.readouterr().err
    monkeypatch.undo()
    counts = bench.process(header=stamped(3))
    assert bench.newest(3).keys() == {*failing, *others}


def test_depth_goes_on_where_its_correction_fails_and_nothing_is_marked(make_bench, monkeypatch):
    bench = make_bench(*COSTMAP, DEPTH_IMAGE, camera_height=0.5)
    bench.process(header=stamped(1))
    bench.newest(1)
    monkeypatch.setattr(correction, "find_floor", lambda *_: 1 / 0)
    monkeypatch.setattr(floor_check, "find_floor", lambda *_: 1 / 0)
    bench.set(camera_height=0.0)
    counts = bench.process(header=stamped(2))
    assert (counts["processed"], counts["published_depth/image"]) == (2, 2)
    for topic in COSTMAP:  # one last message, without evidence
        assert counts[f"published_{topic}"] == 2
    assert "the correction failed: ZeroDivisionError" in bench.status().message
    monkeypatch.undo()
    bench.set(camera_height=0.5)
    assert bench.process(header=stamped(3))[f"published_{MARKING}"] == 3


def test_where_only_a_costmap_listens_nothing_is_enlarged(make_bench, monkeypatch):
    bench = make_bench(*COSTMAP, camera_height=0.5)
    sizes, believe = [], bench.estimator.believe

    def watched(prediction, depth_m, settings, *more):
        sizes.append(settings.output_size)
        return believe(prediction, depth_m, settings, *more)

    monkeypatch.setattr(bench.estimator, "believe", watched)
    bench.process(header=stamped(1))
    bench.peer.collect(Image, DEPTH_IMAGE)
    assert bench.peer.spin_until(lambda: DEPTH_IMAGE in bench.publishers.wanted())
    bench.process(header=stamped(2))
    assert sizes == ["network", "input"]


# From frame to frame.


def test_flicker_is_averaged_out_from_frame_to_frame(peer, bench):
    """Noise on a still picture moves the depth less with the stabiliser than without."""
    images = bench.received[DEPTH_IMAGE]
    rng = np.random.default_rng(4)
    picture = np.kron(rng.integers(60, 200, (12, 16)), np.ones((10, 10))).astype(np.uint8)
    spread = {}
    for start, seconds in enumerate((0.0, 2.0)):
        bench.set(temporal_smoothing=seconds)
        depths = []
        for number in range(12):
            noisy = np.clip(picture + rng.normal(0, 4, picture.shape), 0, 255).astype(np.uint8)
            header = stamped(100 + 10 * start + 0.05 * number)
            before = len(images)
            bench.process(header=header, data=array("B", noisy.tobytes()))
            assert peer.spin_until(lambda before=before: len(images) > before)
            depth = np.frombuffer(images[-1].data, np.float32)
            depths.append(np.where(np.isfinite(depth), depth, np.nan))
        logs = np.log(np.array(depths[4:]))
        spread[seconds] = np.nanmedian(np.std(logs, axis=0))
    assert spread[2.0] < 0.6 * spread[0.0]


class LateEngine:
    """Comes back from a call only after the pipeline was given up."""

    def __init__(self, engine, pipeline, error=None):
        self.engine, self.pipeline, self.error = engine, pipeline, error

    def infer(self, images):
        self.pipeline.leave_behind()
        if self.error is not None:
            raise self.error
        return self.engine.infer(images)


@pytest.mark.parametrize("error", [None, RuntimeError("CUDA error")])
def test_an_engine_that_comes_back_too_late_publishes_nothing(bench, error):
    bench.estimator.engine = LateEngine(bench.estimator.engine, bench.pipeline, error)
    assert bench.process() == {"dropped_failed": 1}  # once, when it was given up
    assert bench.pipeline.engine_failures == 0
