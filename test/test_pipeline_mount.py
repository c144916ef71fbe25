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

"""What the pipeline tells a network of the mount, and what becomes of a wrong one."""

import math
from array import array

import numpy as np
import pytest
from box_scene import true_depth
from exact_bundle import encoded, exact_bundle
from pipeline_bench import FRAME, HEIGHT, WIDTH, Bench, stamped
from transform_buffer import TransformBuffer, transform

from depthrefl_ros.engine.bundle import Bundle
from depthrefl_ros.engine.openvino_engine import OpenVinoEngine
from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.floor_plane import camera_floor_depth
from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.ros.publishers import DEPTH_IMAGE, MARKING
from depthrefl_ros.ros.transforms import open_tf2_buffer

CAMERA = Camera.pinhole(WIDTH, HEIGHT, 125, 125, (WIDTH - 1) / 2, (HEIGHT - 1) / 2)
HEIGHT_M, PITCH_DEG = 0.5, 15.0
TRUE = Pose.from_mount(HEIGHT_M, math.radians(PITCH_DEG))
BOX = ((1.8, -0.3, 0.0), (2.2, 0.3, 0.4))
TRUTH = true_depth(CAMERA, TRUE, [BOX])
MOUNT = {"camera_height": HEIGHT_M, "camera_pitch": PITCH_DEG}
PLAIN = {"temporal_smoothing": 0.0, "edge_ratio": 0.0, "max_grazing_angle": 0.0, "max_range": 40.0}


class CountingEngine:
    """Counts the runs of a real engine, and those that were told a mount."""

    def __init__(self, engine):
        self.engine, self.device, self.runs, self.told = engine, engine.device, 0, 0

    def infer(self, images):
        self.runs += 1
        self.told += bool(images[..., 3:].any())
        return self.engine.infer(images)


class MountBench(Bench):
    """A pipeline that is shown exact depth."""

    def show(self, seconds: float, depth_m: np.ndarray = TRUTH) -> None:
        data = array("B", encoded(depth_m).tobytes())
        self.process(header=stamped(seconds), encoding="rgb8", step=3 * WIDTH, data=data)

    def depth(self, seconds: int) -> np.ndarray:
        """Show the truth, and return the depth image (H, W) that comes of it."""
        self.show(seconds)
        return np.frombuffer(self.newest(seconds)[DEPTH_IMAGE].data, np.float32).reshape(
            HEIGHT, WIDTH
        )


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    """Return bundle and engine of networks that believe their mount, or take none."""
    found = {}
    for name, trust in (("wholly", 1.0), ("half", 0.5), ("not at all", None)):
        folder = exact_bundle(tmp_path_factory.mktemp("bundles") / name, CAMERA, trust=trust)
        bundle = Bundle.load(str(folder))
        found[name] = bundle, OpenVinoEngine(bundle, 1)
    return found


@pytest.fixture
def make_bench(peer, networks):
    benches = []

    def make(*topics, name="wholly", open_buffer=open_tf2_buffer, **changes):
        bundle, engine = networks[name]
        engines = (CountingEngine(engine),)
        how = {**PLAIN, **changes}
        benches.append(MountBench(peer, engines, topics, open_buffer, bundle, **how))
        benches[-1].give_camera()
        benches[-1].counting = engines[0]
        return benches[-1]

    yield make
    for bench in benches:
        bench.close()


def is_floor_of(depth: np.ndarray, mount: Pose) -> bool:
    """Tell whether depth is the floor's of a mount, as exactly as bytes say it."""
    floor_m = camera_floor_depth(CAMERA, mount)
    seen = (floor_m > 0.2) & (floor_m < 30.0)
    return bool(np.abs(depth[seen] / floor_m[seen] - 1.0).max() < 0.02)


def is_truth(depth: np.ndarray) -> bool:
    """Tell whether depth is what the picture shows; the gates' median rounds corners off."""
    return bool(np.mean(np.abs(depth / TRUTH - 1.0) < 0.01) > 0.99)


def test_the_network_is_told_the_mount_parameters_and_diagnostics_say_so(make_bench):
    bench = make_bench(DEPTH_IMAGE, **MOUNT)
    assert is_floor_of(bench.depth(1), TRUE)
    assert bench.values()["mount"] == "0.50 m up, looking 15.0 degrees down by parameters"
    bench.set(**PLAIN, **MOUNT, use_mount=False)  # while it runs
    assert is_truth(bench.depth(2))
    assert bench.values()["mount"] == "not told: use_mount is off"
    bench.set(**PLAIN, **MOUNT)
    assert is_floor_of(bench.depth(3), TRUE)


def test_without_a_mount_the_network_is_told_nothing(make_bench):
    bench = make_bench(DEPTH_IMAGE)
    assert is_truth(bench.depth(1))
    assert bench.values()["mount"].startswith("not told: no transform from 'camera_optical_frame'")
    assert "camera_height is not given either" in bench.values()["mount"]
    bench.set(**PLAIN, camera_height=0.5, camera_pitch=-60.0)
    assert is_truth(bench.depth(2))
    words = "not told: no floor in view from 0.50 m up, looking 60.0 degrees up by parameters"
    assert bench.values()["mount"] == words


def test_a_camera_that_tilts_is_told_how_it_stands_in_every_frame(make_bench):
    known = {}
    bench = make_bench(DEPTH_IMAGE, open_buffer=TransformBuffer(known).open)
    for seconds, pitch_deg in enumerate((5.0, 10.0, 15.0, 20.0), 1):
        half = math.radians(pitch_deg) / 2.0
        # The camera's body turns about y, left; the optical frame stands in it as ever.
        down = np.array([0.0, math.sin(half), 0.0, math.cos(half)])
        known["base_footprint", FRAME] = transform((0, 0, HEIGHT_M), _times(down, OPTICAL))
        mount = Pose.from_mount(HEIGHT_M, math.radians(pitch_deg))
        assert is_floor_of(bench.depth(seconds), mount)
        words = f"0.50 m up, looking {pitch_deg:.1f} degrees down by TF"
        assert bench.values()["mount"] == words


OPTICAL = np.array([-0.5, 0.5, -0.5, 0.5])


def _times(a: np.ndarray, b: np.ndarray) -> tuple[float, ...]:
    """Return the product of two quaternions x, y, z, w."""
    vector = a[3] * b[:3] + b[3] * a[:3] + np.cross(a[:3], b[:3])
    return (*vector, a[3] * b[3] - a[:3] @ b[:3])


def test_a_network_of_three_channels_is_said_to_take_none(make_bench):
    bench = make_bench(DEPTH_IMAGE, name="not at all", **MOUNT)
    assert is_truth(bench.depth(1))
    assert bench.values()["mount"] == "not taken by this model"


@pytest.mark.parametrize(
    "believed_m, words", [(0.5, ""), (0.37, "0.13 m below z = 0"), (0.25, "0.25 m below z = 0")]
)
def test_a_wrong_mount_marks_nothing_though_the_network_believes_it(make_bench, believed_m, words):
    """A base frame on the robot's body: obstacles would be lower than they are."""
    bench = make_bench(MARKING, name="half", **{**MOUNT, "camera_height": believed_m})
    for number in range(30):
        bench.show(10.0 + 0.1 * number)
    bench.show(20.0)
    if words:
        assert words in bench.status().message
        bench.widths()
        last = bench.received[MARKING][-1]
        assert (last.width, last.header.stamp.sec) == (0, 10)  # before it was known it was marked
    else:
        assert bench.newest(20)[MARKING].width > 0
    # Once for each frame, and a few times more to see what it says untold.
    assert bench.counting.told == 31
    assert 5 <= bench.counting.runs - bench.counting.told <= 12


def test_where_nobody_marks_the_network_runs_once_a_frame(make_bench):
    bench = make_bench(DEPTH_IMAGE, **MOUNT)
    for number in range(10):
        bench.show(10.0 + 0.1 * number)
    assert (bench.counting.runs, bench.counting.told) == (10, 10)


def test_an_engine_that_fails_untold_fails_the_frame(make_bench):
    bench = make_bench(MARKING, **MOUNT)
    run = bench.counting.infer

    def fails_untold(images):
        return run(images) if images[..., 3].any() else 1 / 0

    bench.counting.infer = fails_untold
    bench.show(1.0)
    assert bench.diagnostics.counts()["dropped_failed"] == 1
    assert bench.pipeline.engine_failures == 1
