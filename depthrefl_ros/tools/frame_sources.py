"""Where camera frames come from: a webcam, a video file, a folder of images, a recording."""

from __future__ import annotations

import os
import queue
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from depthrefl_ros.ros.convert.images import MessageError, compressed_image_to_array
from depthrefl_ros.tools.camera_info_file import INTRINSICS_FILE, Intrinsics
from depthrefl_ros.tools.command_line import ToolError
from depthrefl_ros.tools.recordings import Recording, is_recording, stamp_ns

# What is wrong is told in one line of ours; OpenCV's and FFmpeg's would come on top.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
if hasattr(cv2.utils, "logging"):  # not in the OpenCV 4.5.4 of Ubuntu 22.04
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm")
DEFAULT_FRAME_ID = "camera_optical_frame"
DEFAULT_RATE_HZ = 10.0


@dataclass(frozen=True)
class SourceFrame:
    """One camera frame, ready to be put into an Image message.

    Attributes:
        data: (height * step,) uint8, as in the message.
        height: pixels.
        width: pixels.
        step: bytes a row.
        encoding: as in the message.
        is_bigendian: as in the message.
        camera_info: the camera of this frame; its header is the publisher's to set.
        frame_id: of the optical frame.
        stamp_ns: when it was taken, by the source's own clock.
        name: the file's stem or the frame's number.
        picture: the encoded picture it was read from, for publishing compressed, or None.
    """

    data: np.ndarray
    height: int
    width: int
    step: int
    encoding: str
    is_bigendian: int
    camera_info: CameraInfo
    frame_id: str
    stamp_ns: int
    name: str
    picture: CompressedImage | None = None

    @classmethod
    def from_pixels(
        cls,
        pixels: np.ndarray,
        camera_info: CameraInfo,
        stamp_ns: int,
        name: str,
        frame_id: str = DEFAULT_FRAME_ID,
        picture: CompressedImage | None = None,
    ) -> SourceFrame:
        """A frame of (H, W, 3) uint8 BGR or (H, W) uint8 grey pixels, as OpenCV decodes them."""
        height, width = pixels.shape[:2]
        return cls(
            data=np.ascontiguousarray(pixels).reshape(-1),
            height=height,
            width=width,
            step=pixels[0].size,
            encoding="mono8" if pixels.ndim == 2 else "bgr8",
            is_bigendian=0,
            camera_info=camera_info,
            frame_id=frame_id,
            stamp_ns=stamp_ns,
            name=name,
            picture=picture,
        )

    def bgr(self) -> np.ndarray:
        """The pixels (height, width, 3) uint8, blue first, without what pads the rows.

        Raises:
            ValueError: the encoding is not ``bgr8``.
        """
        if self.encoding != "bgr8":
            raise ValueError(f"frame {self.name} is {self.encoding}; bgr8 is needed")
        rows = self.data.reshape(self.height, self.step)[:, : 3 * self.width]
        return rows.reshape(self.height, self.width, 3)


class FrameSource(ABC):
    """Frames in order; every call of ``frames`` starts again from the first.

    Attributes:
        name: for messages to the user.
        rate_hz: the source's own rate; what is published at if the user says nothing.
        count: frames in one pass; None where the end is not known.
        is_live: a camera: it cannot be paused, looped or read ahead.
    """

    name: str
    rate_hz: float = DEFAULT_RATE_HZ
    count: int | None = None
    is_live: bool = False

    @abstractmethod
    def frames(self) -> Iterator[SourceFrame]:
        """The frames of one pass.

        Raises:
            ToolError: the source cannot be read, or nothing is known about its camera.
        """


def open_source(source: str, intrinsics: Intrinsics, image_topic: str | None = None) -> FrameSource:
    """Finds out what ``source`` is.

    Args:
        source: a webcam's number, or the path of a video, an image folder or a recording.
        intrinsics: for sources without CameraInfo.
        image_topic: of a recording; None takes the colour camera.

    Raises:
        ToolError: missing, or nothing that has frames.
    """
    if source.isdigit():
        return Webcam(int(source), intrinsics)
    path = Path(source).expanduser()
    if not path.exists():
        raise ToolError(
            f"{source}: no such file or folder; give a webcam's number, a video, an image folder "
            "or a recording"
        )
    if path.suffix == ".bag":
        raise ToolError(f"{path}: is a ROS 1 bag; convert it with 'rosbags-convert'")
    if is_recording(path):
        return RecordingSource(path, intrinsics, image_topic)
    if path.is_dir():
        return ImageFolder(path, intrinsics)
    return VideoFile(path, intrinsics)


class Webcam(FrameSource):
    """A camera that OpenCV opens by its number."""

    is_live = True

    def __init__(self, number: int, intrinsics: Intrinsics):
        self.name = f"webcam {number}"
        self._number = number
        self._intrinsics = intrinsics
        self.rate_hz = 30.0

    def frames(self) -> Iterator[SourceFrame]:
        """Frames until the camera fails, stamped when they arrive."""
        capture = cv2.VideoCapture(self._number)
        try:
            if not capture.isOpened():
                raise ToolError(
                    f"{self.name}: cannot be opened; is it plugged in, free, and may you read "
                    f"/dev/video{self._number}?"
                )
            number = 0
            while True:
                is_read, pixels = capture.read()
                stamp = time.time_ns()
                if not is_read:
                    raise ToolError(f"{self.name}: stopped sending after {number} frames")
                height, width = pixels.shape[:2]
                info = self._intrinsics.camera_info(width, height, "", self.name)
                yield SourceFrame.from_pixels(pixels, info, stamp, str(number))
                number += 1
        finally:
            capture.release()


class VideoFile(FrameSource):
    """A video file in any format that OpenCV reads."""

    def __init__(self, path: Path, intrinsics: Intrinsics):
        self.name = str(path)
        self._path = path
        self._intrinsics = intrinsics
        capture = self._open()
        rate_hz = capture.get(cv2.CAP_PROP_FPS)
        count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        capture.release()
        self.rate_hz = rate_hz if 0 < rate_hz < 1000 else 30.0
        self.count = count if count > 0 else None

    def _open(self) -> cv2.VideoCapture:
        capture = cv2.VideoCapture(str(self._path))
        if not capture.isOpened():
            raise ToolError(f"{self._path}: not a readable video; OpenCV knows no way to decode it")
        return capture

    def frames(self) -> Iterator[SourceFrame]:
        """The video's frames, stamped from 0 at its own rate."""
        capture = self._open()
        try:
            number = 0
            while True:
                is_read, pixels = capture.read()
                if not is_read:
                    break
                height, width = pixels.shape[:2]
                info = self._intrinsics.camera_info(width, height, "", self.name)
                stamp = round(number * 1e9 / self.rate_hz)
                yield SourceFrame.from_pixels(pixels, info, stamp, str(number))
                number += 1
            if number == 0:
                raise ToolError(f"{self._path}: has no frame that can be decoded")
        finally:
            capture.release()


class ImageFolder(FrameSource):
    """The images of a folder, or of its ``rgb`` folder, sorted by name.

    An ``intrinsics.yaml`` beside them is read unless the user gives intrinsics.
    """

    def __init__(self, folder: Path, intrinsics: Intrinsics):
        self.name = str(folder)
        images = folder / "rgb" if (folder / "rgb").is_dir() else folder
        self._paths = sorted(
            path for path in images.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES
        )
        if not self._paths:
            raise ToolError(f"{images}: no images; wanted are {' '.join(IMAGE_SUFFIXES)}")
        is_given = intrinsics.file is not None or intrinsics.horizontal_fov_deg is not None
        file = folder / INTRINSICS_FILE
        self._intrinsics = Intrinsics(file) if file.is_file() and not is_given else intrinsics
        self.count = len(self._paths)

    def frames(self) -> Iterator[SourceFrame]:
        """The images, stamped from 0 at the default rate."""
        for number, path in enumerate(self._paths):
            data = np.frombuffer(path.read_bytes(), np.uint8)
            pixels = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
            if pixels is None:
                raise ToolError(f"{path}: not a readable image")
            height, width = pixels.shape[:2]
            info = self._intrinsics.camera_info(width, height, path.stem, self.name)
            stamp = round(number * 1e9 / self.rate_hz)
            yield SourceFrame.from_pixels(pixels, info, stamp, path.stem)


class RecordingSource(FrameSource):
    """The colour camera of a recording, with its CameraInfo, raw or compressed."""

    def __init__(self, path: Path, intrinsics: Intrinsics, image_topic: str | None):
        self.name = str(path)
        self._path = path
        self._intrinsics = intrinsics
        with Recording(path) as recording:
            self._image_topic = recording.image_topic(image_topic)
            self._info_topic = recording.camera_info_topic(self._image_topic)
            self.count = recording.count(self._image_topic)
            rate_hz = recording.average_rate_hz(self._image_topic)
        self.rate_hz = rate_hz if rate_hz > 0 else DEFAULT_RATE_HZ

    def frames(self) -> Iterator[SourceFrame]:
        """The frames as they were recorded, each with the newest CameraInfo before it."""
        with Recording(self._path) as recording:
            info = self._first_info(recording)
            topics = [topic for topic in (self._image_topic, self._info_topic) if topic]
            number = 0
            for _, message in recording.messages(*topics):
                if isinstance(message, CameraInfo):
                    info = message
                else:
                    yield self._frame(message, info, str(number))
                    number += 1

    def _first_info(self, recording: Recording) -> CameraInfo | None:
        """The recording's first CameraInfo, for images that come before it."""
        is_given = (
            self._intrinsics.file is not None or self._intrinsics.horizontal_fov_deg is not None
        )
        if self._info_topic is None or is_given:
            self._info_topic = None
            return None
        return next((message for _, message in recording.messages(self._info_topic)), None)

    def _frame(
        self, message: Image | CompressedImage, info: CameraInfo | None, name: str
    ) -> SourceFrame:
        frame_id = message.header.frame_id or DEFAULT_FRAME_ID
        if isinstance(message, Image):
            info = info or self._intrinsics.camera_info(
                message.width, message.height, name, self.name
            )
            return SourceFrame(
                data=np.frombuffer(message.data, np.uint8),
                height=message.height,
                width=message.width,
                step=message.step,
                encoding=message.encoding,
                is_bigendian=message.is_bigendian,
                camera_info=info,
                frame_id=frame_id,
                stamp_ns=stamp_ns(message),
                name=name,
            )
        try:
            pixels, _ = compressed_image_to_array(message, self._image_topic)
        except MessageError as error:
            raise ToolError(f"{self._path}: frame {name}: {error}") from error
        height, width = pixels.shape[:2]
        info = info or self._intrinsics.camera_info(width, height, name, self.name)
        return SourceFrame.from_pixels(pixels, info, stamp_ns(message), name, frame_id, message)


class ReadAhead:
    """Frames decoded by a thread of their own, a few ahead, so that a slow one costs no time.

    Args:
        frames: where they come from; its exceptions come out of the iteration.
        depth: how many wait at most.
    """

    _END = object()

    def __init__(self, frames: Iterator[SourceFrame], depth: int = 8):
        self._frames = frames
        self._queue: queue.Queue = queue.Queue(depth)
        self._is_closed = False
        self._thread = threading.Thread(target=self._fill, name="read-ahead", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[SourceFrame]:
        while True:
            item = self._queue.get()
            if item is self._END:
                return
            if isinstance(item, Exception):
                raise item
            yield item

    def close(self) -> None:
        """Stops reading."""
        self._is_closed = True
        while self._thread.is_alive():
            try:
                self._queue.get(timeout=0.05)
            except queue.Empty:
                continue

    def _fill(self) -> None:
        try:
            for frame in self._frames:
                self._queue.put(frame)
                if self._is_closed:
                    break
            self._queue.put(self._END)
        except Exception as error:  # handed to whoever iterates
            self._queue.put(error)
