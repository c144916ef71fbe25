"""Which camera took an image: by its CameraInfo, a calibration file, or an assumed view angle."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

from builtin_interfaces.msg import Time
from sensor_msgs.msg import CameraInfo

from depthrefl_ros.geometry.camera import Camera, CameraError
from depthrefl_ros.ros.convert.camera_info import camera_from_info, info_key
from depthrefl_ros.ros.convert.images import MessageError
from depthrefl_ros.ros.qos import CAMERA_INFO_DEPTH

_REMEMBERED = 16  # cameras; more only come from a driver whose calibration never rests


class NoCameraError(MessageError):
    """No CameraInfo has come yet, and nothing stands in for it."""


@dataclass(frozen=True)
class FoundCamera:
    """A camera of the image's size, and where its calibration comes from.

    Attributes:
        camera: the same object for as long as the calibration stays the same.
        source: for people.
        is_assumed: the focal length is a guess, and with it every distance.
    """

    camera: Camera
    source: str
    is_assumed: bool = False


class CameraSources:
    """Holds the newest CameraInfo messages and finds the camera of an image.

    Args:
        topic: of the CameraInfo, resolved; named in errors.
    """

    def __init__(self, topic: str):
        self.topic = topic
        self._infos: deque[CameraInfo] = deque(maxlen=CAMERA_INFO_DEPTH)
        self._cameras: dict[tuple, Camera] = {}

    def add(self, message: CameraInfo) -> None:
        """Takes a CameraInfo that came; checked only when an image needs it."""
        self._infos.append(message)

    def find(
        self,
        stamp: Time,
        width: int,
        height: int,
        calibration: Camera | None = None,
        assumed_fov_deg: float = 0.0,
    ) -> FoundCamera:
        """The camera of an image. Never waits.

        A calibration file comes first, since the user named it; then the CameraInfo of the
        image's stamp, or else the newest; then the assumed field of view.

        Args:
            stamp: of the image.
            width: of the image, pixels.
            height: of the image, pixels.
            calibration: from the file of ``camera_info_url``.
            assumed_fov_deg: ``assumed_horizontal_fov``, 0 for off.

        Raises:
            NoCameraError: there is none of the three.
            MessageError: there is one, but it cannot be true or is of another image.
        """
        try:
            if calibration is not None:
                return self._from_file(calibration, width, height)
            return self._from_info(stamp, width, height)
        except MessageError as error:
            if assumed_fov_deg <= 0.0:
                raise
            return self._assumed(width, height, assumed_fov_deg, error)

    def _from_file(self, calibration: Camera, width: int, height: int) -> FoundCamera:
        try:
            camera = self._remember(
                ("file", calibration, width, height),
                lambda: calibration.for_image(width, height),
            )
        except CameraError as error:
            raise MessageError(f"camera_info_url: {error}") from error
        return FoundCamera(camera, "camera_info_url" + _rescaling(camera))

    def _from_info(self, stamp: Time, width: int, height: int) -> FoundCamera:
        infos = list(self._infos)
        if not infos:
            raise NoCameraError(
                f"no CameraInfo on {self.topic}: remap camera_info to your camera's topic, or set "
                "camera_info_url or assumed_horizontal_fov"
            )
        info = next((one for one in reversed(infos) if one.header.stamp == stamp), infos[-1])
        try:
            camera = self._remember(
                (info_key(info), width, height),
                lambda: camera_from_info(info, self.topic).for_image(width, height),
            )
        except CameraError as error:
            raise MessageError(f"{self.topic}: {error}") from error
        return FoundCamera(camera, self.topic + _rescaling(camera))

    def _assumed(self, width: int, height: int, fov_deg: float, why: MessageError) -> FoundCamera:
        camera = self._remember(
            ("fov", fov_deg, width, height),
            lambda: Camera.from_horizontal_fov(width, height, math.radians(fov_deg)),
        )
        source = f"assumed_horizontal_fov {fov_deg:g} deg, so the scale is a guess ({why})"
        return FoundCamera(camera, source, is_assumed=True)

    def _remember(self, key: tuple, make) -> Camera:
        """The same Camera object for the same key: rectification maps hang on it."""
        camera = self._cameras.get(key)
        if camera is None:
            camera = make()
            if len(self._cameras) >= _REMEMBERED:
                self._cameras.clear()
            self._cameras[key] = camera
        return camera


def _rescaling(camera: Camera) -> str:
    """What to add to the source of a camera that had to be scaled to its images; else nothing."""
    if camera.rescaled_from is None:
        return ""
    described = "x".join(map(str, camera.rescaled_from))
    return f", scaled from {described} to the image's {camera.width}x{camera.height}"
