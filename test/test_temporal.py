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

"""Steady depth: flicker falls, nothing lags, and what has changed is believed at once."""

import math
import time

import cv2
import numpy as np
import pytest
from room_depth import room_depth, room_picture

from depthrefl_ros.engine.bundle import Bundle
from depthrefl_ros.engine.selection import open_engine
from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.geometry.temporal import DepthStabiliser

SHAPE = (192, 256)
FRAME_S = 0.1
CAMERA = Camera.from_horizontal_fov(SHAPE[1], SHAPE[0], 0.8)
FURNITURE = [
    ((2.5, -0.8, 0.0), (3.2, 0.2, 0.9)),
    ((1.5, 1.0, 0.0), (2.2, 1.6, 1.4)),
    ((4.0, -2.2, 0.0), (4.6, -1.2, 1.8)),
    ((-1.5, -1.5, 0.0), (-0.8, -0.5, 1.0)),
    ((0.5, -2.0, 0.0), (1.2, -1.4, 0.6)),
    ((-1.0, 1.5, 0.0), (-0.2, 2.3, 1.5)),
]


def textured(seed: int = 0) -> np.ndarray:
    """(h, w, 3) uint8 with structure of a few pixels everywhere."""
    noise = np.random.default_rng(seed).standard_normal((*SHAPE, 3)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 3.0)
    return np.clip(120 + 45 * smooth / smooth.std(), 0, 255).astype(np.uint8)


def sensed(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the image with fresh sensor noise and exposure, JPEG-compressed."""
    light = image * np.exp(rng.normal(0.0, 0.04)) + rng.normal(0.0, 2.0, image.shape)
    pixels = np.clip(np.rint(light), 0, 255).astype(np.uint8)
    return cv2.imdecode(cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 90])[1], 1)


def flickering(depth: np.ndarray, rng: np.random.Generator, scale: float = 0.02) -> np.ndarray:
    """Depth with a jitter of its scale and of 3 % that neighbouring pixels share."""
    noise = cv2.GaussianBlur(rng.standard_normal(SHAPE), (0, 0), 4.0)
    log = rng.normal(0.0, scale) + 0.03 * noise / noise.std()
    return (depth * np.exp(log)).astype(np.float32)


def slanted() -> np.ndarray:
    return np.tile(np.linspace(1.0, 4.0, SHAPE[1], dtype=np.float32), (SHAPE[0], 1))


def zoomed(image: np.ndarray, factor: float) -> np.ndarray:
    """Return the image as it looks when everything in it is nearer by ``factor``."""
    centre = ((SHAPE[1] - 1) / 2, (SHAPE[0] - 1) / 2)
    return cv2.warpAffine(image, cv2.getRotationMatrix2D(centre, 0, factor), SHAPE[::-1])


def test_the_real_networks_flicker_is_at_least_halved():
    bundle = Bundle.load("indoor_tiny")
    engine = open_engine(bundle, "openvino").engine
    rng, stabiliser = np.random.default_rng(1), DepthStabiliser(0.5)
    raw, steady = [], []
    for index in range(40):
        shown = bundle.golden().images[0]
        image = sensed(shown[..., :3], rng)
        shown = np.concatenate([image, shown[..., 3:]], axis=-1)  # the mount is no noise
        depth = engine.infer(shown[None])["depth"][0, 0]
        raw.append(depth)
        steady.append(stabiliser.update(depth, image, index * FRAME_S))
    before, after = (np.median(np.log(np.stack(one)).std(axis=0)) for one in (raw, steady))
    assert before > 0.005, "there is something to steady"
    assert after < before / 2
    # What stands still keeps its place.
    assert np.median(np.abs(np.mean(np.log(steady), 0) - np.mean(np.log(raw), 0))) < before


def test_the_first_frame_and_steady_depth_pass_as_they_are():
    stabiliser, image, depth = DepthStabiliser(0.5), textured(), slanted()
    np.testing.assert_array_equal(stabiliser.update(depth, image, 0.0), depth)
    for index in range(1, 5):
        found = stabiliser.update(depth, image, index * FRAME_S)
        np.testing.assert_allclose(found, depth, rtol=1e-5)
        assert found.dtype == np.float32 and found.shape == SHAPE


@pytest.mark.parametrize("rate_hz", [5.0, 10.0, 30.0])
def test_a_robot_that_drives_at_a_wall_is_not_lagged(rate_hz):
    speed, start_m, end_m = 1.0, 4.0, 0.7
    image, rng = textured(), np.random.default_rng(2)
    stabiliser, raw, steady = DepthStabiliser(0.5), [], []
    for index in range(int((start_m - end_m) / speed * rate_hz)):
        true_m = start_m - speed * index / rate_hz
        depth = flickering(np.full(SHAPE, true_m), rng, scale=0.05)
        found = stabiliser.update(depth, zoomed(image, start_m / true_m), index / rate_hz)
        raw.append(np.log(np.median(depth) / true_m))
        steady.append(np.log(np.median(found) / true_m))
    assert abs(np.mean(steady) - np.mean(raw)) < 0.01
    assert abs(np.mean(steady[-5:])) < 0.05
    assert np.diff(steady, 2).std() < 0.9 * np.diff(raw, 2).std(), "its scale jitters less"


def test_without_jitter_driving_changes_nothing_but_a_little_at_the_wall():
    image, stabiliser = textured(), DepthStabiliser(0.5)
    for index in range(33):
        true_m = 4.0 - 0.1 * index
        depth = np.full(SHAPE, true_m, np.float32)
        found = stabiliser.update(depth, zoomed(image, 4.0 / true_m), index * FRAME_S)
        assert abs(np.median(found) / true_m - 1) < 0.03


def exact_error(depths: list[np.ndarray], images: list[np.ndarray]) -> float:
    """Median over the frames of the median error, metres, of what is 2 to 4 m away."""
    stabiliser, errors = DepthStabiliser(0.5), []
    for index, (depth, image) in enumerate(zip(depths, images, strict=True)):
        found = stabiliser.update(depth, image, index * FRAME_S)
        there = (depth > 2.0) & (depth < 4.0)
        if there.any():
            errors.append(np.median(np.abs(found - depth)[there]))
    assert len(errors) > 20
    return float(np.median(errors))


def robot_at(x_m: float, y_m: float, yaw: float) -> Pose:
    cos, sin = math.cos(yaw), math.sin(yaw)
    turn = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
    return Pose(turn, np.array([x_m, y_m, 0.0])) @ Pose.from_mount(1.1)


def turning(t: float) -> Pose:
    return robot_at(0.0, 0.0, math.radians(30) * t - 0.8)


def setting_off(t: float) -> Pose:
    return robot_at(-1.8 + 0.2 * t**2, 0.5, 0.05 * t)


def stopping(t: float) -> Pose:
    return robot_at(-1.5 + 0.5 * (t - math.sin(2 * t) / 2), 0.3, 0.0)


def round_a_bend(t: float) -> Pose:
    return robot_at(1.2 * math.sin(t / 2) - 1.0, -1.2 * math.cos(t / 2) + 0.2, t / 2)


@pytest.mark.parametrize("way", [turning, setting_off, stopping, round_a_bend])
def test_a_camera_that_moves_keeps_exact_depth(way):
    """A rendered room; averaging what a turn brings into view for jitter cost centimetres."""
    poses, rng = [way(index * FRAME_S) for index in range(35)], np.random.default_rng(6)
    depths = [room_depth(pose, FURNITURE, CAMERA) for pose in poses]
    images = [
        sensed(room_picture(pose, depth, CAMERA), rng)
        for pose, depth in zip(poses, depths, strict=True)
    ]
    assert exact_error(depths, images) < 0.005


def test_jitter_of_the_scale_is_still_steadied_while_the_camera_turns():
    stabiliser, rng, raw, steady = DepthStabiliser(0.5), np.random.default_rng(7), [], []
    for index in range(35):
        pose = turning(index * FRAME_S)
        truth = room_depth(pose, FURNITURE, CAMERA)
        depth = flickering(truth, rng, scale=0.05)
        found = stabiliser.update(depth, room_picture(pose, truth, CAMERA), index * FRAME_S)
        raw.append(np.median(np.log(depth / truth)))
        steady.append(np.median(np.log(found / truth)))
    assert np.diff(steady, 2).std() < 0.7 * np.diff(raw, 2).std()


def test_zero_infinite_and_negative_depth_pass_as_they_are():
    image, rng, stabiliser = textured(), np.random.default_rng(8), DepthStabiliser(0.5)
    odd = np.array([0.0, np.inf, -np.inf, -1.0, np.nan], np.float32)
    for index in range(6):
        depth = flickering(slanted(), rng)
        depth[50, 40:45] = odd
        found = stabiliser.update(depth, image, index * FRAME_S)
        np.testing.assert_array_equal(found[50, 40:45], odd)
        rest = np.ones(SHAPE, bool)
        rest[50, 40:45] = False
        assert np.isfinite(found[rest]).all() and (found[rest] > 0).all()


def test_creeping_is_noticed_and_never_adds_up():
    image, stabiliser, rng = textured(), DepthStabiliser(2.0), np.random.default_rng(3)
    for index in range(60):
        factor = 1.0 + 0.002 * index
        depth = np.full(SHAPE, 3.0 / factor, np.float32)
        found = stabiliser.update(depth, sensed(zoomed(image, factor), rng), index * FRAME_S)
        assert abs(np.median(found) * factor / 3.0 - 1) < 0.006


def test_something_that_comes_into_a_still_picture_is_there_at_once():
    image, depth = textured(), slanted()
    stabiliser, rng = DepthStabiliser(0.5), np.random.default_rng(4)
    for index in range(10):
        stabiliser.update(flickering(depth, rng), sensed(image, rng), index * FRAME_S)
    box = np.s_[60:130, 100:180]
    image[box], depth[box] = textured(7)[box], 0.8
    found = stabiliser.update(depth, image, 10 * FRAME_S)
    # The rest of the map stands still, so the scale does too, up to its jitter.
    np.testing.assert_allclose(found[box], 0.8, rtol=0.03)
    elsewhere = found[:, :60] / slanted()[:, :60]
    assert np.median(np.abs(np.log(elsewhere))) < 0.03


def test_what_moves_through_a_still_picture_is_not_lagged():
    background, stabiliser = textured(), DepthStabiliser(2.0)
    for index in range(20):
        image, depth = background.copy(), slanted()
        box = np.s_[60:130, 40 + 3 * index : 120 + 3 * index]
        image[box] = textured(7)[60:130, 40:120]
        depth[box] = true_m = 0.9 * 0.98**index  # slower than what a change of depth betrays
        found = stabiliser.update(depth, image, index * FRAME_S)
        assert np.median(np.abs(found[box] / true_m - 1)) < 0.01


def test_what_has_come_in_is_steadied_from_its_first_frame_on():
    """Its first depth is a guess like any other: it must not weigh as the frames before it did."""
    image, depth = textured(), slanted()
    stabiliser, box = DepthStabiliser(5.0), np.s_[60:130, 100:180]
    for index in range(20):
        stabiliser.update(depth, image, index * FRAME_S)
    image[box] = textured(7)[box]
    depth[box] = 0.8
    for index in range(20, 30):
        seen = depth.copy()
        seen[box] *= 0.97 if index == 20 else 1.0
        found = stabiliser.update(seen, image, index * FRAME_S)
    inside = found[80:110, 120:160]
    assert abs(np.median(inside) / 0.8 - 1) < 0.006, "the mean of ten frames, one of them off"


def test_depth_that_changes_in_an_unchanged_picture_is_believed():
    """A plain surface comes nearer: its inside looks the same from frame to frame."""
    image, depth, stabiliser = textured(), slanted(), DepthStabiliser(0.5)
    for index in range(10):
        stabiliser.update(depth, image, index * FRAME_S)
    box = np.s_[40:150, 80:200]
    depth = depth.copy()
    depth[box] *= 0.7
    found = stabiliser.update(depth, image, 10 * FRAME_S)
    np.testing.assert_allclose(found[60:130, 100:180], depth[60:130, 100:180], rtol=0.02)


@pytest.mark.parametrize("ratio", [0.4, 3.0])
def test_a_scene_cut_starts_anew(ratio):
    stabiliser = DepthStabiliser(0.5)
    for index in range(10):
        stabiliser.update(slanted(), textured(), index * FRAME_S)
    other = slanted() * np.float32(ratio)
    found = stabiliser.update(other, textured(9), 10 * FRAME_S)
    np.testing.assert_array_equal(found, other)


def test_another_structure_is_a_scene_cut_too():
    stabiliser = DepthStabiliser(0.5)
    stabiliser.update(slanted(), textured(), 0.0)
    mirrored = np.ascontiguousarray(slanted()[:, ::-1])
    np.testing.assert_array_equal(stabiliser.update(mirrored, textured(), 0.1), mirrored)


@pytest.mark.parametrize("stamp_s", [0.5, 0.9, 60.0])
def test_a_clock_that_goes_back_stands_or_leaps_starts_anew(stamp_s):
    stabiliser = DepthStabiliser(0.5)
    for index in range(10):
        stabiliser.update(slanted(), textured(), index * FRAME_S)
    other = slanted() * np.float32(1.05)
    np.testing.assert_array_equal(stabiliser.update(other, textured(), stamp_s), other)
    # And from there it is steady again.
    found = stabiliser.update(slanted(), textured(), stamp_s + FRAME_S)
    assert (found > slanted() * 1.001).mean() > 0.9


def test_reset_forgets():
    stabiliser = DepthStabiliser(0.5)
    stabiliser.update(slanted(), textured(), 0.0)
    stabiliser.reset()
    other = slanted() * np.float32(1.05)
    np.testing.assert_array_equal(stabiliser.update(other, textured(), 0.1), other)


def test_another_size_starts_anew_and_sizes_must_agree():
    stabiliser = DepthStabiliser(0.5)
    stabiliser.update(slanted(), textured(), 0.0)
    small = np.ones((96, 128), np.float32)
    image = np.ascontiguousarray(textured()[::2, ::2])
    np.testing.assert_array_equal(stabiliser.update(small, image, 0.1), small)
    with pytest.raises(ValueError, match="sizes must agree"):
        stabiliser.update(small, textured(), 0.2)


def test_unseen_pixels_stay_unseen_and_spoil_no_others():
    image, rng, stabiliser = textured(), np.random.default_rng(5), DepthStabiliser(0.5)
    image[:24] = image[-24:] = 127
    unseen = np.zeros(SHAPE, bool)
    unseen[:24] = unseen[-24:] = True
    raw, steady = [], []
    for index in range(30):
        depth = flickering(slanted(), rng)
        depth[unseen] = np.nan
        shown = sensed(image, rng)
        shown[unseen] = 127
        raw.append(depth)
        steady.append(stabiliser.update(depth, shown, index * FRAME_S))
    assert (np.isnan(steady) == unseen).all()
    before, after = (np.log(np.stack(one))[:, ~unseen].std(axis=0) for one in (raw, steady))
    assert np.median(after) < np.median(before) / 2
    nothing = np.full(SHAPE, np.nan, np.float32)
    assert np.isnan(stabiliser.update(nothing, image, 3.0)).all()
    np.testing.assert_array_equal(stabiliser.update(slanted(), image, 3.1), slanted())


def test_a_plain_picture_cannot_tell_of_motion_so_nothing_is_averaged():
    plain = np.full((*SHAPE, 3), 200, np.uint8)
    stabiliser, depth = DepthStabiliser(5.0), slanted()
    for index in range(8):
        depth = depth * np.float32(0.95)  # a white wall fills the view and comes nearer
        found = stabiliser.update(depth, plain, index * FRAME_S)
    # An average over 8 frames would be 18 % behind.
    assert np.median(np.abs(found / depth - 1)) < 0.06


def errors_as_a_plain_thing_comes(speed: float, width_m: float, aside_m=0.0, until_m=0.7):
    """Log error of its depth in each frame, from where it stands 3 m away for 1.5 s."""
    grain = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    room = cv2.resize(grain, SHAPE[::-1], interpolation=cv2.INTER_CUBIC)
    stabiliser, errors, true_m = DepthStabiliser(0.5), [], 3.0
    while true_m > until_m:
        half, middle = 100 * width_m / true_m, 128 + 200 * aside_m / true_m
        left, right = max(0, round(middle - half)), min(SHAPE[1], round(middle + half))
        image, depth = room.copy(), np.full(SHAPE, 4.5, np.float32)
        thing = np.s_[max(0, round(96 - 1.6 * half)) :, left:right]
        image[thing], depth[thing] = 120, true_m
        found = stabiliser.update(depth, image, len(errors) * FRAME_S)
        errors.append(np.log(np.median(found[thing]) / true_m))
        true_m = 3.0 - max(0, len(errors) - 15) * FRAME_S * speed
    return errors


@pytest.mark.parametrize(("speed", "width_m", "aside_m"), [(1.0, 1.2, 0.0), (1.5, 2.0, 0.5)])
def test_a_plain_thing_that_fills_the_view_multiplies_no_frame(speed, width_m, aside_m):
    """What corresponds is then at the picture's rim, and tells nothing of the scale in between."""
    errors = errors_as_a_plain_thing_comes(speed, width_m, aside_m)
    assert len(errors) > 25 and np.max(np.abs(errors)) < 0.16


@pytest.mark.parametrize(("speed", "width_m"), [(1.0, 0.06), (0.3, 0.1), (0.3, 0.9)])
def test_a_plain_thing_that_comes_nearer_is_not_lagged_far(speed, width_m):
    errors = errors_as_a_plain_thing_comes(speed, width_m, until_m=1.5)
    assert np.max(errors) < 0.1 and np.mean(errors[15:]) < 0.04


@pytest.mark.parametrize("value", [0.0, -1.0, math.inf, math.nan])
def test_a_time_constant_that_cannot_be_is_named(value):
    with pytest.raises(ValueError, match=f"time_constant_s is {value}"):
        DepthStabiliser(value)


def test_it_takes_little_time():
    stabiliser, image, depth, times = DepthStabiliser(0.5), textured(), slanted(), []
    for index in range(12):
        start = time.thread_time()
        stabiliser.update(depth, image, index * FRAME_S)
        times.append(time.thread_time() - start)
    assert min(times[1:]) < 3e-3
