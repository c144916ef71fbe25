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

"""How far things are in the images of a drive, by what the camera saw before and after.

A robot knows least of what it drives towards: from far away the angles hardly differ. Once it has
come near, it knows; and a drive that was recorded can be looked at from its end, too. So corners
are followed forwards and backwards, and each image gets what both tell of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple, TypeVar

import numpy as np

from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.motion import MotionDepth, MotionPoints
from depthrefl_ros.geometry.pose import Pose

# Images that are looked back through at a time, and how many after these are held beside them: at a
# few centimetres from one to the next, that is some metres of the way.
_LEG, _AHEAD = 200, 150

Label = TypeVar("Label")


class DriveImage(NamedTuple):
    """One image of a drive.

    Attributes:
        grey: (H, W) uint8, rectified.
        camera: its rectified pinhole camera.
        seen: (h, w) bool of any size, where it shows the surroundings; None for everywhere. The
            same array is looked at once.
        odom_from_camera: where the camera's optical frame is by odometry.
        time_s: when it was taken, seconds.
    """

    grey: np.ndarray
    camera: Camera
    seen: np.ndarray | None
    odom_from_camera: Pose
    time_s: float

    def tell(self, motion: MotionDepth, direction: float) -> MotionPoints:
        """Give the image to one who goes through the drive, forwards (1) or backwards (-1)."""
        return motion.update(
            self.grey, self.camera, self.seen, self.odom_from_camera, direction * self.time_s
        )


def in_hindsight(
    images: Iterable[tuple[DriveImage, Label]],
) -> Iterator[tuple[Label, MotionPoints]]:
    """Yield each image's label with the corners of known distance that are in it.

    350 images and labels are held in memory; the first is yielded when so many have come, or all.

    Args:
        images: of one drive in the order of time, some centimetres from one to the next; each with
            anything that the caller knows it by.
    """
    forwards = MotionDepth()
    held: list[tuple[DriveImage, Label, MotionPoints]] = []
    for image, label in images:
        held.append((image, label, image.tell(forwards, 1.0)))
        if len(held) == _LEG + _AHEAD:
            yield from _with_later(held, _LEG)
            del held[:_LEG]
    yield from _with_later(held, len(held))


def _with_later(
    held: list[tuple[DriveImage, Label, MotionPoints]], count: int
) -> Iterator[tuple[Label, MotionPoints]]:
    """Yield the first so many with what those after them tell, too."""
    backwards = MotionDepth()
    later = [image.tell(backwards, -1.0) for image, _, _ in reversed(held)][::-1]
    for (_, label, before), after in zip(held[:count], later[:count], strict=True):
        points = np.vstack([before.points, after.points])
        sigma = np.concatenate([before.sigma, after.sigma])
        yield label, MotionPoints(points, sigma, before.begun_anew or after.begun_anew)
