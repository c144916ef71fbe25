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

"""Relative depth of rendered sequences becomes metric; without ROS."""

import math
from dataclasses import replace

import numpy as np
import pytest
from room_depth import CAMERA, monocular, room_depth, room_picture

from depthrefl_ros.geometry.affine import HELD_S
from depthrefl_ros.geometry.anchors import RangeReading
from depthrefl_ros.geometry.correction import CorrectionSettings, DepthCorrection
from depthrefl_ros.geometry.motion import MotionPoints
from depthrefl_ros.geometry.pose import BASE_FROM_OPTICAL, Pose
from depthrefl_ros.geometry.rays import pixel_rays
from depthrefl_ros.geometry.surround import Surround

HEIGHT_M = 0.6
BOXES = [
    ((2.5, -1.2, 0.0), (3.0, -0.4, 0.6)),
    ((3.5, 0.4, 0.0), (4.0, 1.2, 1.4)),
    ((4.0, -0.3, 0.0), (4.4, 0.3, 1.0)),
]
ALLOWED_FRAMES = 15


class Sequence:
    """A drive through a room, seen by a network whose scale and shift nobody knows."""

    def __init__(self, seed: int, how: str, noise=0.03, pitch_deg=10.0, **settings):
        self.rng = np.random.default_rng(seed)
        self.scale = math.exp(self.rng.uniform(-6.0, 6.0))
        self.shift = self.rng.uniform(-0.3, 0.05)
        self.noise, self.pitch_deg, self.count = noise, pitch_deg, 0
        self.correction = DepthCorrection()
        self.settings = CorrectionSettings(scale_correction=how, **settings)

    def frame(self, pitch_error_deg=0.0, **surround):
        """Return the next frame: what came of it, depth with the true scale, the truth."""
        self.count += 1
        rock = math.radians(self.pitch_deg + 0.5 * math.sin(self.count))
        mount = Pose.from_mount(HEIGHT_M, rock)
        pose = Pose(mount.rotation, mount.translation + np.array([0.04 * self.count, 0, 0]))
        truth = room_depth(pose, BOXES)
        own = monocular(truth, self.count, self.noise)
        relative = ((1.0 / own - self.shift) / self.scale).astype(np.float32)
        self.truth = truth
        known = Pose.from_mount(HEIGHT_M, rock + math.radians(pitch_error_deg))
        around = Surround(
            100.0 + 0.1 * self.count,
            known.up_in_source,
            base_from_camera=known,
            pose_source="TF",
        )
        around = replace(around, **{name: make(self) for name, make in surround.items()})
        nothing = np.full_like(truth, np.nan)
        picture = room_picture(pose, truth)
        found = self.correction.apply(
            nothing, picture, CAMERA, around, self.settings, True, relative
        )
        return found, own, truth

    def points(self):
        rows = self.rng.integers(0, CAMERA.height, 200)
        columns = self.rng.integers(0, CAMERA.width, 200)
        points = pixel_rays(CAMERA, columns, rows) * self.truth[rows, columns][:, None]
        points[:20] /= 3.0
        return points

    def moved(self):
        return MotionPoints(self.points(), np.full(200, 0.03))

    def depth_image(self):
        noisy = self.truth + self.rng.normal(0, 0.003, self.truth.shape) * self.truth**2
        noisy[:, :30] = np.nan
        noisy[self.truth > 4.0] = np.nan
        return noisy.astype(np.float32)


def abs_rel(depth_m, truth_m) -> float:
    return float(np.mean(np.abs(depth_m - truth_m) / truth_m))


ANCHORS = {
    "reference_points": {"points": Sequence.points},
    "reference_depth": {"reference_m": Sequence.depth_image},
    "motion": {"motion": Sequence.moved},
    "ground": {},
}


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("anchor", ANCHORS)
def test_relative_depth_is_as_good_as_with_its_true_scale_and_shift(anchor, seed):
    """AbsRel within 2 points of the true affine's within 15 frames, and from then on."""
    sequence = Sequence(seed, anchor, temporal_smoothing_s=0.0)
    for count in range(20):
        found, own, truth = sequence.frame(**ANCHORS[anchor])
        if count < 2:
            assert np.isnan(found.depth_m).all() and not found.scale.ok
            assert "fits by" in found.problems["metric"]
        elif count >= ALLOWED_FRAMES:
            assert found.scale.ok and found.scale.corrected_by == anchor, found.scale
            assert abs_rel(found.depth_m, truth) < abs_rel(own, truth) + 0.02
            assert found.obstacle_problem == ""


def test_smoothing_works_on_the_metric_depth():
    sequence = Sequence(4, "reference_points")
    for _ in range(20):
        found, own, truth = sequence.frame(points=Sequence.points)
    assert abs_rel(found.depth_m, truth) < abs_rel(own, truth) + 0.02
    assert found.factor == 1.0


def test_the_floor_judges_the_points():
    sequence = Sequence(5, "reference_points")
    for _ in range(10):
        found, _, _ = sequence.frame(points=Sequence.points)
    assert found.scale.ok and found.scale.judged_by == "ground"
    assert found.scale.reason.startswith("1/z = ")
    lying = Sequence(5, "reference_points")
    for _ in range(10):
        found, _, _ = lying.frame(points=lambda one: 2.0 * Sequence.points(one))
    assert not found.scale.ok
    assert "ground is " in found.scale.reason and "the fit to reference_points" in (
        found.scale.reason
    )
    assert found.obstacle_problem == found.scale.reason


def test_a_pitch_that_is_wrong_shifts_what_the_floor_gives():
    """The limit of the floor alone, as docs/inputs.md states it."""
    errors = {}
    for pitch_error_deg in (0.0, 0.5, 2.0):
        sequence = Sequence(6, "ground", noise=0.0, temporal_smoothing_s=0.0)
        for _ in range(10):
            found, _, truth = sequence.frame(pitch_error_deg)
        errors[pitch_error_deg] = abs_rel(found.depth_m, truth)
    assert errors[0.0] < 0.01 < errors[0.5] < 0.06 < errors[2.0]


def test_a_ranger_alone_needs_a_drive():
    def reading(sequence):
        noisy = float(sequence.truth[48, 64]) * math.exp(sequence.rng.normal(0, 0.01))
        return RangeReading(noisy, 0.1, 8.0, 0.03)

    sonar = {
        "reading": reading,
        "camera_from_ranger": lambda _: Pose(BASE_FROM_OPTICAL.T, np.zeros(3)),
    }
    sequence = Sequence(7, "range", noise=0.0, pitch_deg=0.0)
    for _ in range(12):
        found, _, _ = sequence.frame(**sonar)
    assert np.isnan(found.depth_m).all()
    assert "to tell the scale from the shift" in found.problems["range"] or (
        "measurements in the image" in found.problems["range"]
    )
    for _ in range(50):
        found, _, truth = sequence.frame(**sonar)
    assert abs_rel(found.depth_m, truth) < 0.1


def test_without_measurements_metres_are_held_and_then_lost():
    sequence = Sequence(8, "reference_points")
    for _ in range(5):
        found, _, _ = sequence.frame(points=Sequence.points)
    assert np.isfinite(found.depth_m).all()
    for count in range(int(10 * HELD_S) + 5):
        found, own, truth = sequence.frame()
        if count < 10:
            assert abs_rel(found.depth_m, truth) < 0.1 and "held for" in found.scale.reason
    assert np.isnan(found.depth_m).all()
    assert found.problems["metric"] == (
        "depth is NaN: scale and shift by reference_points are lost: none measured for 3 s"
    )
    assert found.obstacle_problem and found.base_from_camera is None


def test_sky_stays_endless_and_what_is_unseen_unknown():
    sequence = Sequence(9, "reference_depth", noise=0.0)
    for _ in range(4):
        found, _, truth = sequence.frame(reference_m=Sequence.depth_image)
    relative = ((1.0 / truth - sequence.shift) / sequence.scale).astype(np.float32)
    depth = np.full_like(truth, np.nan)
    depth[0], relative[1] = 1e4, np.nan
    around = Surround(101.0, np.array([0.0, -1.0, 0.0]), reference_m=sequence.depth_image())
    picture = np.zeros((*truth.shape, 3), np.uint8)
    settings = replace(sequence.settings, temporal_smoothing_s=0.0)
    found = sequence.correction.apply(depth, picture, CAMERA, around, settings, True, relative)
    assert (found.depth_m[0] == 1e4).all() and np.isnan(found.depth_m[1]).all()
    assert np.isfinite(found.depth_m[2:]).all()


def test_after_a_jump_of_the_clock_metres_are_measured_anew():
    sequence = Sequence(10, "ground")
    for _ in range(4):
        found, _, _ = sequence.frame()
    assert np.isfinite(found.depth_m).any()
    sequence.correction.reset()
    assert np.isnan(sequence.frame()[0].depth_m).all()
