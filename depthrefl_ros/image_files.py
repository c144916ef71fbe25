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

"""Image files as users have them: which of a folder's files are images, in which order, and pixels.

Every tool lists and reads files of images through here, so that hidden files, suffixes, numbering
and orientation tags mean the same everywhere.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection
from pathlib import Path

import cv2
import numpy as np

IMAGE_SUFFIXES = (
    ".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm",
)  # fmt: skip

_NUMBER = re.compile(r"(\d+)")
# A marker within a JPEG's compressed data that ends it: FF 00 is a stuffed byte of the data,
# FF D0..D7 restart it, FF FF is padding (ITU-T T.81, B.1.1.2).
_MARKER = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])", re.DOTALL)
_JPEG_START, _JPEG_END = b"\xff\xd8", 0xD9
_PROGRESSIVE = b"\xff\xc2"
_FILL = 128  # what a decoder takes for blocks that are missing
# Bytes that are decoded to some picture.
_OTHER_BLOCKS = bytes((37 * number + 11) % 251 for number in range(96))
_PNG_START = b"\x89PNG\r\n\x1a\n"


class ImageFileError(ValueError):
    """A file is no image that can be read; the message names the file and what is wrong."""


def natural_key(name: str) -> tuple:
    """Return a key that sorts names as people number them: ``frame_2`` before ``frame_10``."""
    parts = _NUMBER.split(unicodedata.normalize("NFC", name).casefold())
    return tuple((int(part), "") if part.isdecimal() else (-1, part) for part in parts), name


def stem_of(path: Path) -> str:
    """Return a relative path without its suffix, umlauts composed (macOS takes them apart)."""
    return unicodedata.normalize("NFC", path.with_suffix("").as_posix())


def home_expanded(path: str | Path) -> Path:
    """Return a path with the home folder for ``~``; ``~x`` of no user x is a file's own name."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def list_images(folder: Path, suffixes: Collection[str] = IMAGE_SUFFIXES) -> list[Path]:
    """Return the images of a folder in the natural order of their names.

    Hidden files are none of them, nor the ``._`` files that macOS puts beside every file on a
    foreign disk. Suffixes count in any case.

    Args:
        folder: looked at without its subfolders.
        suffixes: which count as images, in lower case with the dot.

    Raises:
        OSError: the folder is missing or cannot be read.
    """
    files = (
        path
        for path in Path(folder).iterdir()
        if path.suffix.lower() in suffixes and not path.name.startswith(".") and path.is_file()
    )
    return sorted(files, key=lambda path: natural_key(path.name))


def list_images_below(folder: Path, suffixes: Collection[str] = IMAGE_SUFFIXES) -> list[Path]:
    """Return the images of a folder and its subfolders, in the natural order of their paths.

    Hidden folders are left out; else as ``list_images``.

    Args:
        folder: looked at with its subfolders.
        suffixes: as for ``list_images``.

    Raises:
        OSError: the folder is missing or cannot be read.
    """
    folder = Path(folder)
    subfolders = [
        path
        for path in folder.rglob("*")
        if path.is_dir()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
    files = [path for place in (folder, *subfolders) for path in list_images(place, suffixes)]
    return sorted(files, key=lambda path: natural_key(path.relative_to(folder).as_posix()))


def read_image(path: Path) -> np.ndarray:
    """Return an image as (H, W, 3) uint8 RGB; raises ImageFileError if it cannot be decoded."""
    return cv2.cvtColor(decode(path, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def decode(path: Path, flags: int, upright: bool = False) -> np.ndarray:
    """Return an image file decoded by OpenCV with ``flags``, pixels where the sensor put them.

    An orientation tag is not followed: depth, intrinsics and masks of the same camera know
    nothing of it, and the node takes compressed images the same way. ``upright`` follows it, for
    photographs that come alone.

    OpenCV decodes the upper part of a truncated file and fills the rest with grey; here a JPEG or
    PNG without its end is an error. Bytes after its end do no harm.

    Raises:
        ImageFileError: the file is missing, truncated or not an image.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise ImageFileError(f"{path}: cannot be read: {error.strerror}") from error
    if content.startswith(b"version https://git-lfs.github.com/spec/"):
        raise ImageFileError(f"{path}: a Git LFS pointer instead of the file; run 'git lfs pull'")
    if content.startswith(_JPEG_START):
        end = jpeg_end(content)
    elif content.startswith(_PNG_START):
        end = png_end(content)
    else:
        end = len(content)
    if end is None:
        raise ImageFileError(f"{path}: the file is truncated")
    data = np.frombuffer(content, np.uint8, count=end)
    if flags != cv2.IMREAD_UNCHANGED and not upright:
        flags |= cv2.IMREAD_IGNORE_ORIENTATION
    try:
        image = cv2.imdecode(data, flags) if content else None
    except cv2.error as error:
        raise ImageFileError(f"{path}: OpenCV cannot decode it: {error.err}") from error
    if image is None:
        raise ImageFileError(f"{path}: {'not an image, or a damaged one' if content else 'empty'}")
    if content.startswith(_JPEG_START) and lacks_rows(content[:end], image, flags):
        raise ImageFileError(f"{path}: the file is truncated")
    return image


def is_turned(path: Path, upright: np.ndarray) -> bool:
    """Return whether an image's rows are columns of the sensor: its orientation tag is 5 to 8.

    Args:
        path: of the file.
        upright: (H, W, channels) what ``decode`` made of it with ``upright``.

    Raises:
        ImageFileError: as ``decode``.
    """
    height, width = upright.shape[:2]
    if height == width:  # either is right
        return False
    # An eighth of the size is enough, and decoded fast. OpenCV alone knows every format's tags.
    stored = decode(path, cv2.IMREAD_REDUCED_COLOR_8)
    return np.sign(stored.shape[1] - stored.shape[0]) == np.sign(height - width)


def jpeg_end(content: bytes) -> int | None:
    """Return where a JPEG's first image ends, behind its end marker; None if it does not.

    Segments are skipped by their length, so that the end of a thumbnail inside is not taken for
    the end of the image.
    """
    place = 2
    while (marker := _MARKER.search(content, place)) is not None:
        kind, place = marker.group(1)[0], marker.end()
        if kind == _JPEG_END:
            return place
        if place + 2 > len(content):
            break
        # After a scan's header the search runs through its compressed data to the next marker.
        place += int.from_bytes(content[place : place + 2], "big")
    # A damaged segment leads astray; what ends as a JPEG does is left to the decoder.
    return len(content) if content.rstrip(b"\0").endswith(b"\xff\xd9") else None


def lacks_rows(jpeg: bytes, image: np.ndarray, flags: int) -> bool:
    """Return whether a JPEG has an end marker, but not all of its data.

    Cameras and drivers that lose data close the picture all the same. The decoder fills what is
    missing with mid grey, of a progressive picture with what it has, and tells nobody. Where the
    last pixel has that grey, or the picture is progressive, other data are put behind the picture's
    own: they change nothing where all pixels are there. A cut within the last block goes unseen.

    Args:
        jpeg: from start to end marker.
        image: what OpenCV made of it.
        flags: with which it did.
    """
    if (image[-1, -1] != _FILL).any() and _PROGRESSIVE not in jpeg:
        return False
    longer = np.frombuffer(jpeg[:-2] + _OTHER_BLOCKS + jpeg[-2:], np.uint8)
    return not np.array_equal(cv2.imdecode(longer, flags), image)


def png_end(content: bytes) -> int | None:
    """Return where a PNG ends, behind its IEND chunk; None if it does not."""
    place = len(_PNG_START)
    while place + 12 <= len(content):
        length, is_last = content[place : place + 4], content[place + 4 : place + 8] == b"IEND"
        place += 12 + int.from_bytes(length, "big")  # length, kind and checksum of 4 bytes each
        if is_last:
            return place if place <= len(content) else None
    return None
