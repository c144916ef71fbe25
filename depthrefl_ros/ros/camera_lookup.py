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

"""Which camera took an image: by its CameraInfo, a calibration file, or an assumed view angle."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from builtin_interfaces.msg import Time
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from depthrefl_ros.geometry.camera import Camera, CameraError
from depthrefl_ros.geometry.camera_doubts import doubts_of
from depthrefl_ros.ros.convert.camera_info import camera_from_info, info_key
from depthrefl_ros.ros.convert.images import MessageError

# The newest messages are kept for the image that comes with one of their stamps.
CAMERA_INFO_DEPTH = 5
_VIEW_RATIO = 1.25  # of fields of view, beyond which a metric network's scale is doubtful
_REMEMBERED = 16  # cameras; more only come from a driver whose calibration never rests


class NoCameraError(MessageError):
    """No CameraInfo has come yet, and nothing stands in for it."""


@dataclass(frozen=True)
class FoundCamera:
    """A camera of the image's size, and where its calibration comes from.

    Attributes:
        camera: of the image's size.
        source: for people.
        doubts: what about it can hardly be true, in words; empty where all is well.
        is_assumed: the focal length is a guess, and with it every distance.
    """

    camera: Camera
    source: str
    doubts: tuple[str, ...] = ()
    is_assumed: bool = False


class CameraLookup:
    """Holds the newest CameraInfo messages and finds the camera of an image.

    Args:
        topic: of the CameraInfo, resolved; named in errors.
    """

    def __init__(self, topic: str):
        self.topic = topic
        self._infos: deque[CameraInfo] = deque(maxlen=CAMERA_INFO_DEPTH)
        self._found: dict[tuple, FoundCamera] = {}

    def add(self, message: CameraInfo) -> None:
        """Take a CameraInfo that came; it is checked only when an image needs it."""
        self._infos.append(message)

    def find(
        self,
        header: Header,
        width: int,
        height: int,
        calibration: Camera | None = None,
        assumed_fov_deg: float = 0.0,
        is_rectified: bool = False,
        optical_frame_id: str = "",
    ) -> FoundCamera:
        """Find the camera of an image. Never waits.

        A calibration file comes first, since the user named it; then CameraInfo (see ``_chosen``);
        then the assumed field of view.

        Args:
            header: of the image, as its driver filled it.
            width: of the image, pixels.
            height: of the image, pixels.
            calibration: from the file of ``camera_info_url``.
            assumed_fov_deg: ``assumed_horizontal_fov``, 0 for off.
            is_rectified: ``image_is_rectified``: P alone will do.
            optical_frame_id: another name of the image's frame, if its driver states a wrong one.

        Raises:
            NoCameraError: there is none of the three.
            MessageError: there is one, but it cannot be true or is of another image.
        """
        try:
            if calibration is not None:
                return self._from_file(calibration, width, height, is_rectified)
            frames = (header.frame_id, optical_frame_id)
            return self._from_info(header.stamp, frames, width, height, is_rectified)
        except MessageError as error:
            if assumed_fov_deg <= 0.0:
                raise
            return self._assumed(width, height, assumed_fov_deg, error)

    def _from_file(
        self, calibration: Camera, width: int, height: int, is_rectified: bool
    ) -> FoundCamera:
        try:
            return self._remember(
                ("file", calibration, width, height, is_rectified),
                lambda: _described(
                    calibration.for_image(width, height), "camera_info_url", is_rectified
                ),
            )
        except CameraError as error:
            raise MessageError(f"camera_info_url: {error}") from error

    def _from_info(
        self,
        stamp: Time,
        frames: tuple[str, str],
        width: int,
        height: int,
        is_rectified: bool,
    ) -> FoundCamera:
        infos = list(self._infos)
        if not infos:
            raise NoCameraError(
                f"no CameraInfo on {self.topic}: remap camera_info to your camera's topic, or set "
                "camera_info_url or assumed_horizontal_fov"
            )
        info = _chosen(infos, stamp, frames)
        try:
            found = self._remember(
                (info_key(info), width, height, is_rectified),
                lambda: _described(
                    camera_from_info(info, self.topic, is_rectified).for_image(width, height),
                    self.topic,
                    is_rectified,
                ),
            )
        except CameraError as error:
            raise MessageError(f"{self.topic}: {error}") from error
        doubt = _frame_doubt(self.topic, info.header.frame_id, frames)
        return replace(found, doubts=(*found.doubts, doubt)) if doubt else found

    def _assumed(self, width: int, height: int, fov_deg: float, why: MessageError) -> FoundCamera:
        try:
            camera = Camera.from_horizontal_fov(width, height, math.radians(fov_deg))
        except CameraError as error:
            raise MessageError(f"assumed_horizontal_fov {fov_deg:g} deg: {error}") from error
        source = f"assumed_horizontal_fov {fov_deg:g} deg, so the scale is a guess ({why})"
        return FoundCamera(camera, source, is_assumed=True)

    def _remember(self, key: tuple, make: Callable[[], FoundCamera]) -> FoundCamera:
        """Check each description once, not with every frame."""
        found = self._found.get(key)
        if found is None:
            found = make()
            if len(self._found) >= _REMEMBERED:
                self._found.clear()
            self._found[key] = found
        return found


def _chosen(infos: Sequence[CameraInfo], stamp: Time, frames: tuple[str, str]) -> CameraInfo:
    """Return the CameraInfo of an image: of its frame and stamp, or else the newest of its frame.

    Cameras may share a topic. Where no message names the image's frame, those without a frame come
    before those of another one.

    Args:
        infos: at least one, the newest last.
        stamp: of the image.
        frames: that the image may be in.
    """

    def fit(info: CameraInfo) -> tuple[int, bool]:
        frame = info.header.frame_id
        kind = 1 if not frame else 2 if frame in frames else 0
        return kind, info.header.stamp == stamp

    return max(reversed(infos), key=fit)  # of equal ones the first, which is the newest


def _frame_doubt(topic: str, described: str, frames: tuple[str, str]) -> str:
    """Return what is doubtful about a CameraInfo of one frame for an image of another, or nothing.

    An empty frame says nothing.
    """
    if not described or not frames[0] or described in frames:
        return ""
    return (
        f"{topic}: its frame_id is {described!r} and that of the images {frames[0]!r}: does it "
        f"belong to another camera? If not, set optical_frame_id to {described!r}"
    )


def _described(camera: Camera, source: str, is_rectified: bool) -> FoundCamera:
    """Return a camera with where it comes from and what is doubtful about it."""
    doubts = [f"{source}: {doubt}" for doubt in doubts_of(camera, is_rectified)]
    if camera.rescaled_from is not None:
        described = "x".join(map(str, camera.rescaled_from))
        source += f", scaled from {described} to the image's {camera.width}x{camera.height}"
        doubts.append(f"camera from {source}")
    return FoundCamera(camera, source, tuple(doubts))


def view_doubts(camera: Camera, trained_deg: float | None) -> list[str]:
    """Return what a metric network has to say of a lens that it was not trained for.

    Args:
        camera: of the image.
        trained_deg: horizontal field of view that the network was trained for, degrees, or None.
    """
    if trained_deg is None:
        return []
    seen_deg = math.degrees(2.0 * math.atan(camera.width / (2.0 * camera.fx)))
    if 1.0 / _VIEW_RATIO < seen_deg / trained_deg < _VIEW_RATIO:
        return []
    return [
        f"the model was trained for a horizontal field of view of {trained_deg:.0f} degrees "
        f"and this camera has {seen_deg:.0f}: its metres may be wrong"
    ]
