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

"""Where camera frames come from: a webcam, a video file, images, a recording."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import cv2

from depthrefl_ros.image_files import (
    IMAGE_SUFFIXES,
    ImageFileError,
    decode,
    home_expanded,
    is_turned,
    list_images,
    list_images_below,
    stem_of,
)
from depthrefl_ros.tools.bag_files import is_recording
from depthrefl_ros.tools.camera_info_file import INTRINSICS_FILE, Intrinsics, NoCameraInfoError
from depthrefl_ros.tools.command_line import ToolError, UnreadableError
from depthrefl_ros.tools.source_frame import FrameSource, SourceFrame

__all__ = [
    "FrameSource",
    "ImageFiles",
    "SourceFrame",
    "VideoFile",
    "Webcam",
    "open_source",
    "open_source_or_assume",
]

# What is wrong is told in one line of ours; OpenCV's and FFmpeg's would come on top.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
if hasattr(cv2.utils, "logging"):  # not in the OpenCV 4.5.4 of Ubuntu 22.04
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)

ASSUMED_HFOV_DEG = 60.0  # most webcams: 55 to 70 degrees
_COUNT_ERROR = 0.02  # of the number of frames that a container states
_VIDEO_DEVICE = re.compile(r"(?:/dev/video)?(\d+)")


def open_source(source: str, intrinsics: Intrinsics, image_topic: str | None = None) -> FrameSource:
    """Find out what ``source`` is.

    Args:
        source: a webcam's number or device, or the path of a video, an image, a folder of images
            or a recording.
        intrinsics: for sources without CameraInfo.
        image_topic: of a recording; None takes the colour camera.

    Raises:
        ToolError: missing, or nothing that has frames.
    """
    path = home_expanded(source)
    device = _VIDEO_DEVICE.fullmatch(source)
    if device and not (source.isdigit() and path.exists()):  # a folder may be called 2024
        return Webcam(int(device.group(1)), intrinsics)
    if not path.exists():
        raise ToolError(
            f"{source}: no such file or folder; give a webcam's number, a video, an image, a "
            "folder of images or a recording"
        )
    if is_recording(path):
        from depthrefl_ros.tools.recording_source import RecordingSource

        return RecordingSource(path, intrinsics, image_topic)
    if path.is_dir():
        return ImageFiles.in_folder(path, intrinsics)
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return ImageFiles(str(path), [path], intrinsics, upright=intrinsics.file is None)
    return VideoFile(path, intrinsics)


def open_source_or_assume(
    source: str, intrinsics: Intrinsics, image_topic: str | None = None
) -> tuple[FrameSource, float | None]:
    """Open a source; where nothing is known of its camera, assume a field of view and say so.

    The first frame is read, so that what is wrong with the source shows before anything is done.

    Returns:
        The source, and the field of view in degrees where it was assumed.

    Raises:
        ToolError: as ``open_source``, or there are no frames.
    """
    opened = open_source(source, intrinsics, image_topic)
    try:
        if opened.is_live:  # opening a camera twice in a row fails with some drivers
            if not intrinsics.are_given:
                raise NoCameraInfoError
        elif next(opened.frames(), None) is None:
            raise ToolError(f"{opened.name}: has no frames")
    except NoCameraInfoError:
        print(
            f"{opened.name} has no camera info: a horizontal field of view of "
            f"{ASSUMED_HFOV_DEG:g} degrees is assumed, and distances are only as accurate as this "
            "guess; give --hfov or --camera-info",
            file=sys.stderr,
            flush=True,
        )
        intrinsics = Intrinsics(None, ASSUMED_HFOV_DEG)
        return open_source(source, intrinsics, image_topic), ASSUMED_HFOV_DEG
    return opened, None


class Webcam(FrameSource):
    """A camera that OpenCV opens by its number."""

    is_live = True

    def __init__(self, number: int, intrinsics: Intrinsics):
        super().__init__()
        self.name = f"webcam {number}"
        self._number = number
        self._intrinsics = intrinsics
        self.rate_hz = 30.0

    def frames(self) -> Iterator[SourceFrame]:
        """Yield frames until the camera fails, stamped when they arrive."""
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
                camera = self._intrinsics.camera(width, height, "", self.name)
                yield SourceFrame.from_pixels(pixels, camera, stamp, str(number))
                number += 1
        finally:
            capture.release()


class VideoFile(FrameSource):
    """A video file in any format that OpenCV reads."""

    def __init__(self, path: Path, intrinsics: Intrinsics):
        super().__init__()
        self.name = str(path)
        self._path = path
        self._intrinsics = intrinsics
        capture = self._open()
        rate_hz = capture.get(cv2.CAP_PROP_FPS)
        count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        capture.release()
        self.rate_hz = rate_hz if 0 < rate_hz < 1000 else 30.0
        self.count = count if count > 0 else None
        self._is_told = False

    def _open(self) -> cv2.VideoCapture:
        capture = cv2.VideoCapture(str(self._path))
        if not capture.isOpened():
            raise ToolError(
                f"{self._path}: not a readable video; OpenCV cannot decode it. Images must be "
                f"{' '.join(IMAGE_SUFFIXES)}"
            )
        return capture

    def frames(self) -> Iterator[SourceFrame]:
        """Yield the video's frames, stamped by its own times, the first with 0.

        Phones and screen recorders write frames at varying intervals.
        """
        capture = self._open()
        gap_ns = round(1e9 / self.rate_hz)
        try:
            number, stamp, first_ms = 0, 0, 0.0
            while True:
                is_read, pixels = capture.read()
                if not is_read:
                    break
                milliseconds = capture.get(cv2.CAP_PROP_POS_MSEC)
                if number == 0:
                    first_ms = milliseconds
                else:
                    told = round((milliseconds - first_ms) * 1e6)
                    # Some containers have no times, and OpenCV 4.6 loses those of the last frames:
                    # they stand still or run back. The gap before goes on.
                    gap_ns = told - stamp if told > stamp else gap_ns
                    stamp += gap_ns
                height, width = pixels.shape[:2]
                camera = self._intrinsics.camera(width, height, "", self.name)
                yield SourceFrame.from_pixels(pixels, camera, stamp, str(number))
                number += 1
            if number == 0:
                raise ToolError(f"{self._path}: has no frame that can be decoded")
            self._tell_missing(number)
        finally:
            capture.release()

    def _tell_missing(self, decoded: int) -> None:
        """Say once that frames are missing; some containers state their number only roughly."""
        if self._is_told or not self.count or decoded >= (1 - _COUNT_ERROR) * self.count - 1:
            return
        self._is_told = True
        print(
            f"{self._path}: only {decoded} of {self.count} frames can be decoded; the file is cut "
            "short or damaged",
            file=sys.stderr,
            flush=True,
        )


class ImageFiles(FrameSource):
    """Image files in order, stamped from 0 at the default rate.

    Args:
        name: for messages.
        paths: of the files.
        intrinsics: of their camera.
        upright: turn them as their orientation tags say. Intrinsics and depth maps are of pixels
            where the sensor put them.
        folder: from which on their paths are their names; None for that of each.
    """

    is_still = True

    def __init__(
        self,
        name: str,
        paths: list[Path],
        intrinsics: Intrinsics,
        upright: bool = False,
        folder: Path | None = None,
    ):
        super().__init__()
        self.name = name
        self._paths, self._folder = paths, folder
        self._intrinsics = intrinsics
        self._upright = upright
        self.count = len(paths)

    @classmethod
    def in_folder(cls, folder: Path, intrinsics: Intrinsics) -> ImageFiles:
        """Take the images of a folder, or of its ``rgb`` folder with subfolders.

        An ``intrinsics.yaml`` beside them is read unless the user gives intrinsics.

        Raises:
            ToolError: there are none.
        """
        images = folder / "rgb"
        if images.is_dir():
            paths = list_images_below(images)
        else:
            images, paths = folder, list_images(folder)
        if not paths:
            raise ToolError(
                f"{images}: no images and no recording; wanted are {' '.join(IMAGE_SUFFIXES)} "
                "files, .mcap or .db3"
            )
        file = folder / INTRINSICS_FILE
        if file.is_file() and not intrinsics.are_given:
            intrinsics = Intrinsics(file)
        upright = intrinsics.file is None and not (folder / "depth").is_dir()
        return cls(str(folder), paths, intrinsics, upright, images)

    def frames(self) -> Iterator[SourceFrame]:
        """Yield the images; one that cannot be read or has no camera is named and left out."""
        self.skipped.clear()
        reasons: list[str] = []  # told when an image can be used; where none can, one line says all
        used = 0
        for number, path in enumerate(self._paths):
            try:
                pixels = decode(path, cv2.IMREAD_COLOR, self._upright)
                turned = self._upright and is_turned(path, pixels)
                height, width = pixels.shape[:2]
                name = stem_of(path.relative_to(self._folder or path.parent))
                camera = self._intrinsics.camera(width, height, name, str(path), turned)
            except (ImageFileError, UnreadableError) as error:
                if len(self._paths) == 1:
                    raise ToolError(str(error)) from error
                reasons.append(str(error))
                continue
            self._tell(reasons)
            used += 1
            stamp = round(number * 1e9 / self.rate_hz)
            yield SourceFrame.from_pixels(pixels, camera, stamp, name)
        if not used:
            raise ToolError(
                f"{self.name}: none of {len(self._paths)} images can be used: {reasons[0]}"
            )
        self._tell(reasons)

    def _tell(self, reasons: list[str]) -> None:
        for reason in reasons:
            self.skip(reason)
        reasons.clear()
