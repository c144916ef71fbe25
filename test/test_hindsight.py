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

"""A drive in hindsight: what comes near later tells how far it was before."""

from __future__ import annotations

import numpy as np
import pytest
from corridor_drive import PERIOD_S, corridor_frames

from depthrefl_ros.geometry import hindsight
from depthrefl_ros.geometry.hindsight import DriveImage, in_hindsight
from depthrefl_ros.geometry.motion import MotionDepth

FAR_M = 4.0


def drive_images():
    for index, frame in enumerate(corridor_frames()):
        image = DriveImage(
            frame.grey, frame.camera, None, frame.odom_from_camera, 50.0 + PERIOD_S * index
        )
        yield image, index


def test_the_first_image_is_known_as_well_as_the_last():
    found = dict(in_hindsight(drive_images()))
    assert list(found) == list(range(16))
    for index in (0, 8, 15):
        points, frame = found[index], corridor_frames()[index]
        off = np.abs(frame.errors(points.points))
        assert len(points.points) == len(points.sigma) > 80
        assert np.median(off) < 0.04 and np.quantile(off, 0.8) < 0.12


def test_what_is_far_is_known_better_than_on_the_way():
    """Half way through the drive, by what came before alone, and by what came after, too."""
    motion = MotionDepth()
    for image, _ in list(drive_images())[:9]:
        on_the_way = image.tell(motion, 1.0)
    afterwards = dict(in_hindsight(drive_images()))[8]
    frame = corridor_frames()[8]
    far = [points.points[points.points[:, 2] > FAR_M] for points in (on_the_way, afterwards)]
    assert len(far[1]) > 1.5 * len(far[0])
    before, after = (np.median(np.abs(frame.errors(points))) for points in far)
    assert after < 0.05 and after < before + 0.005


def test_a_long_drive_is_looked_at_in_legs_that_see_ahead(monkeypatch):
    whole = dict(in_hindsight(drive_images()))
    monkeypatch.setattr(hindsight, "_LEG", 4)
    monkeypatch.setattr(hindsight, "_AHEAD", 8)
    taken = []

    def images():
        for image, index in drive_images():
            taken.append(index)
            yield image, index

    legs = in_hindsight(images())
    first, points = next(legs)
    assert first == 0 and len(taken) == 12  # no more is held than a leg and what is ahead of it
    assert len(points.points) == pytest.approx(len(whole[0].points), rel=0.2)
    rest = list(legs)
    assert [index for index, _ in rest] == list(range(1, 16))
    for index, found in rest:
        assert len(found.points) > 0.6 * len(whole[index].points)


def test_a_drive_without_images_is_none():
    assert list(in_hindsight([])) == []
