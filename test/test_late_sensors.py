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

"""Frames of the shipped recording through a pipeline that knows the robot's odometry."""

from array import array

import numpy as np
import pytest
from corridor_drive import PERIOD_S, DriveFrame, corridor_frames
from pipeline_bench import BUNDLE, FRAME, Bench, stamped
from transform_buffer import TransformBuffer, transform_of

from depthrefl_ros.engine.openvino_engine import OpenVinoEngine
from depthrefl_ros.ros.convert.camera_info import camera_to_info
from depthrefl_ros.ros.publishers import DEPTH_IMAGE

BASE, ODOM = "base_footprint", "odom"


class DriveBench(Bench):
    """A pipeline that is shown the recording."""

    def __init__(self, peer, engine, **changes):
        self.buffer = TransformBuffer({})
        super().__init__(peer, (engine, engine), (DEPTH_IMAGE,), self.buffer.open, **changes)
        self.time_s = 100.0

    def drive(self, frames, knows_odometry=True) -> None:
        for frame in frames:
            self.show(frame, knows_odometry)

    def show(self, frame: DriveFrame, knows_odometry=True) -> None:
        self.time_s = round(self.time_s + PERIOD_S, 3)
        mount, pose = frame.base_from_camera, frame.odom_from_camera
        self.buffer.known[BASE, FRAME] = transform_of(mount)
        if knows_odometry:
            self.buffer.known[ODOM, FRAME] = transform_of(pose)
        header = stamped(self.time_s)
        self.cameras.add(camera_to_info(frame.camera, header))
        height, width = frame.true_m.shape
        data = array("B", frame.rgb.tobytes())
        self.process(
            header=header, encoding="rgb8", width=width, height=height, step=3 * width, data=data
        )

    def error(self, frame: DriveFrame) -> float:
        """AbsRel of the newest depth image, up to 6 m."""
        self.peer.spin_until(lambda: False, 0.3)
        message = self.received[DEPTH_IMAGE][-1]
        depth_m = np.frombuffer(message.data, np.float32).reshape(frame.true_m.shape)
        counts = (frame.true_m > 0.0) & (frame.true_m < 6.0) & np.isfinite(depth_m)
        return float(np.abs(depth_m[counts] / frame.true_m[counts] - 1.0).mean())


@pytest.fixture(scope="module")
def engine():
    engine = OpenVinoEngine(BUNDLE, 1)
    yield engine
    engine.close()


@pytest.fixture
def make_bench(peer, engine):
    benches = []

    def make(**changes):
        benches.append(DriveBench(peer, engine, temporal_smoothing=0.0, **changes))
        return benches[-1]

    yield make
    for bench in benches:
        bench.close()


def test_a_robot_that_drives_sees_better_and_says_by_what(make_bench):
    frames, errors = corridor_frames(), {}
    for how in ("none", "motion"):
        bench = make_bench(scale_correction=how)
        bench.drive(frames)
        errors[how] = bench.error(frames[-1])
        told = bench.values().get("motion", "")
        assert (told != "") is (how == "motion")
        assert "warning" not in bench.values().get("scale", "")
    count, words = told.split(" points, ")
    assert int(count) > 60 and words.startswith("depth changed by ")
    assert errors["motion"] < 0.9 * errors["none"], errors
    assert float(bench.values()["step_ms_motion_p50"]) > 0.0


def test_without_odometry_depth_comes_all_the_same_and_the_reason_is_told(make_bench):
    bench, frames = make_bench(scale_correction="motion"), corridor_frames()[:3]
    bench.drive(frames, knows_odometry=False)
    assert bench.error(frames[-1]) < 0.3
    assert "motion cannot tell distances: no transform" in bench.status().message
    bench.drive(frames)
    assert "motion" in bench.values()


def test_a_jump_of_the_clock_forgets_what_the_motion_told(make_bench):
    bench, frames = make_bench(scale_correction="motion"), corridor_frames()
    bench.drive(frames)
    assert not bench.values()["motion"].startswith("0 points")
    bench.time_s = 10.0
    bench.show(frames[-1])
    assert bench.values()["motion"].startswith("0 points, begun anew: the clock was set back; ")


def test_what_motion_told_is_not_told_of_a_node_that_no_longer_asks(make_bench):
    bench, frames = make_bench(scale_correction="motion"), corridor_frames()[:4]
    bench.drive(frames)
    assert "motion" in bench.values()
    bench.set(scale_correction="none", temporal_smoothing=0.0)
    bench.show(frames[-1])
    assert "motion" not in bench.values()


def test_auto_goes_without_odometry_and_says_why_where_someone_looks(make_bench):
    bench, frames = make_bench(scale_correction="auto"), corridor_frames()[:4]
    bench.drive(frames[:2], knows_odometry=False)
    assert "motion" not in bench.status().message
    assert bench.values()["motion"].startswith("no odometry: no transform from 'camera_optical")
    bench.show(frames[2])
    assert bench.values()["motion"].startswith("0 points; ")
    del bench.buffer.known[ODOM, FRAME]
    bench.show(frames[3])
    assert "motion" not in bench.status().message


def test_what_fails_in_motion_costs_no_frame_and_not_the_next_ones(make_bench, monkeypatch):
    bench, frames = make_bench(scale_correction="motion"), corridor_frames()
    bench.drive(frames[:4])
    with monkeypatch.context() as patched:
        patched.setattr("depthrefl_ros.geometry.motion.pixel_rays", lambda *_: 1 / 0)
        bench.show(frames[4])
    assert "what moves could not be followed: ZeroDivisionError" in bench.status().message
    bench.drive(frames[5:])
    counts = bench.diagnostics.counts()
    assert counts["processed"] == len(frames) and not counts.get("dropped_failed")
    assert int(bench.values()["motion"].split(" ")[0]) > 40
