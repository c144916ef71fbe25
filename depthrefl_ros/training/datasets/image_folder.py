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

"""What every data set has in common, and the readers that they share."""

from __future__ import annotations

import copy
import difflib
import hashlib
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from types import MappingProxyType

import cv2
import numpy as np
import yaml

from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.image_files import IMAGE_SUFFIXES, ImageFileError, decode
from depthrefl_ros.text_files import decoded_text

# Numbers stay text: an image's name 0010 would be read as octal 8.
TextLoader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
MEMORY_LIMIT = 4 * 2**30  # bytes; a data set that decodes to more is read again at every use
HASH_LIMIT = 20_000  # files; a larger data set's fingerprint is of names and sizes


class DatasetError(ValueError):
    """A data set is incomplete or malformed; the message names the file and what is wrong."""


@dataclass(frozen=True)
class Sample:
    """One image with its truth.

    Attributes:
        name: of the image within its data set.
        image: (H, W, 3) uint8 RGB.
        depth_m: (H, W) float32 metres along the optical axis; 0 where unknown.
        intrinsics: (fx, fy, cx, cy) in pixels of ``image``, pixel centres at integers.
        mount: base_from_camera, the floor being z = 0 of the base; None where it is not known.
    """

    name: str
    image: np.ndarray
    depth_m: np.ndarray
    intrinsics: tuple[float, float, float, float]
    mount: Pose | None = None


class ImageFolder(Sequence):
    """A list of named samples, decoded on first use.

    What takes at most ``MEMORY_LIMIT`` bytes when decoded (judged by the first sample) is kept in
    memory; of a larger data set nothing is. A subclass sets ``kind`` and implements ``load`` and
    ``files_of``; ``without_depth`` and ``without_camera`` name images that it leaves out because
    they have none, ``unreadable`` those that it has found to be damaged, with the reason;
    ``in_any_order`` says whether samples can be read in random order and by several threads.

    Attributes:
        mounts: base_from_camera of the images of which it is known, by name.
        depth_factor: units of the depth files a metre, where a user has told them.
    """

    kind = ""
    in_any_order = True
    without_depth: Sequence[str] = ()
    without_camera: Sequence[str] = ()
    unreadable: Mapping[str, str] = MappingProxyType({})
    mounts: Mapping[str, Pose] = MappingProxyType({})
    depth_factor: float | None = None

    def __init__(self, root: str | Path, names: list[str]):
        self.root = Path(root)
        self.names = list(dict.fromkeys(names))  # a list may name an image twice
        self._samples: dict[int, Sample] = {}
        self._fits_memory: bool | None = None
        if not names:
            raise DatasetError(f"{self.root}: no images that have colour, depth and a camera")

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.names)

    def __getitem__(self, index: int) -> Sample:
        """Return sample ``index``; raises DatasetError if it cannot be read."""
        if index in self._samples:
            return self._samples[index]
        try:
            sample = self.load(self.names[index])
        except ImageFileError as error:
            raise DatasetError(str(error)) from error
        if self.names[index] in self.mounts:
            sample = replace(sample, mount=self.mounts[self.names[index]])
        if self._fits_memory is None:
            size = sample.image.nbytes + sample.depth_m.nbytes
            self._fits_memory = size * len(self) <= MEMORY_LIMIT
        if self._fits_memory:
            self._samples[index] = sample
        return sample

    def preload(self) -> None:
        """Decode everything now, so that forked loader processes share the memory.

        Only the first sample of a data set that does not fit into ``MEMORY_LIMIT``.
        """
        if self.fits_memory:
            # The decoders of OpenCV let other threads run.
            with ThreadPoolExecutor(None if self.in_any_order else 1) as pool:
                list(pool.map(self.__getitem__, range(len(self))))

    @property
    def fits_memory(self) -> bool:
        """Whether decoded samples are kept, judged by the first one."""
        if self._fits_memory is None:
            self[0]
        return bool(self._fits_memory)

    def count_mounts(self) -> int:
        """Return how many images know where their camera stood."""
        return sum(name in self.mounts for name in self.names)

    def subset(self, names: list[str]) -> ImageFolder:
        """Return the same data set with only the images called ``names``, in that order."""
        unknown = sorted(set(names) - set(self.names))
        if unknown or not names:
            raise DatasetError(f"{self.root}: no subset of images {unknown or names}")
        part = copy.copy(self)
        part.names = list(names)
        part._samples, part._fits_memory = {}, None
        return part

    def load(self, name: str) -> Sample:
        """Decode the sample called ``name``; a subclass says how."""
        raise NotImplementedError

    def files_of(self, name: str) -> list[Path]:
        """Return the files that hold the sample called ``name``; a subclass says which."""
        raise NotImplementedError

    def describe_depth(self) -> str:
        """Return in words how the set's true depth is read."""
        return f"as {self.kind} defines it"

    def files(self) -> list[Path]:
        """Return the files that define the data set, each once."""
        return sorted({path for name in self.names for path in self.files_of(name)})

    def fingerprint(self) -> str:
        """Return the SHA-256 (hex) over the sorted paths and SHA-256 of all files of the set.

        Above ``HASH_LIMIT`` files it is over paths and sizes, and starts with ``sizes:``.
        """
        return combined_digest(self.files(), self.root)


def images_by_root(datasets: Iterable[ImageFolder]) -> dict[str, list[str]]:
    """Return the names of all images by the resolved root of their data sets, each name once."""
    return merged_images(*({str(one.root.resolve()): one.names} for one in datasets))


def merged_images(*several: Mapping[str, Iterable[str]]) -> dict[str, list[str]]:
    """Return the names by root of several tables, as ``images_by_root`` has them, each once."""
    merged: dict[str, dict[str, None]] = {}
    for images in several:
        for root, names in images.items():
            merged.setdefault(root, {}).update(dict.fromkeys(names))
    return {root: list(names) for root, names in merged.items()}


def shared_names(dataset: ImageFolder, images: Mapping[str, Iterable[str]]) -> set[str]:
    """Return the names of those images of a data set that others have, too.

    Args:
        dataset: whose images are looked for.
        images: names as ``images_by_root`` returns them.
    """
    return set(dataset.names) & set(images.get(str(dataset.root.resolve()), ()))


def readable(samples: ImageFolder, unreadable: dict[str, str]) -> Iterator[Sample]:
    """Yield the samples that can be read.

    Args:
        samples: the data set.
        unreadable: gets the reason by name of the others.

    Raises:
        DatasetError: none can be read; with the first reason.
    """
    count = 0
    for index, name in enumerate(samples.names):
        try:
            sample = samples[index]
        except DatasetError as error:
            unreadable[name] = str(error)
            continue
        count += 1
        yield sample
    if not count:
        reason = next(iter(unreadable.values()))
        raise DatasetError(f"{samples.root}: none of {len(samples)} images can be read: {reason}")


def combined_digest(files: Sequence[Path], root: Path) -> str:
    """Return the SHA-256 (hex) over files as ``ImageFolder.fingerprint`` has it."""
    by_size = len(files) > HASH_LIMIT
    combined = hashlib.sha256()
    for path in files:
        content = path.stat().st_size if by_size else sha256_of(path)
        combined.update(f"{path.relative_to(root)} {content}\n".encode())
    return ("sizes:" if by_size else "") + combined.hexdigest()


def sha256_of(path: Path) -> str:
    """Return the SHA-256 (hex) of a file's contents, read in pieces."""
    with path.open("rb") as stream:
        digest = hashlib.sha256()
        while piece := stream.read(2**20):
            digest.update(piece)
    return digest.hexdigest()


def read_text(path: Path) -> str:
    """Return a text file as editors write it: UTF-8 with or without mark, UTF-16, or Latin-1.

    Raises:
        DatasetError: the file cannot be read or holds no text.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        return decoded_text(content)
    except ValueError as error:
        raise DatasetError(f"{path}: {error}") from error


def read_lines(path: str | Path) -> list[str]:
    """Return the lines of a list file that are neither empty nor a ``#`` comment, stripped.

    Raises:
        DatasetError: the file is missing or lists nothing.
    """
    path = Path(path)
    if not path.is_file():
        raise DatasetError(f"{path}: list file missing")
    lines = [line.strip() for line in read_text(path).splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    if not lines:
        raise DatasetError(f"{path}: list file is empty; it needs one image a line")
    return lines


def read_names(path: str | Path) -> list[str]:
    """Return the names in a list file, parted by spaces; raises DatasetError as ``read_lines``."""
    return [name for line in read_lines(path) for name in line.split()]


def listed_names(path: str | Path, known: Collection[str], folder: Path) -> list[str]:
    """Return the names of the images that a list file asks for.

    A line is one name, which may hold spaces, or several parted by spaces. ``rgb/0001.jpg`` and
    ``0001.jpg`` mean ``0001``.

    Args:
        path: of the list.
        known: names of the images in the folder.
        folder: that holds them, for messages.

    Raises:
        DatasetError: as ``read_lines``, or a name is not known.
    """
    names = []
    for line in read_lines(path):
        whole = known_name(line, known)
        for text in [line] if whole in known else line.split():
            name = known_name(text, known)
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f"; is it {near[0]!r}?" if near else ""
                raise DatasetError(f"{path}: {name!r} is no image of {folder}{hint}")
            names.append(name)
    return names


def known_name(text: str, known: Collection[str]) -> str:
    """Return which known name a path means; folders before it do not count.

    Args:
        text: as a list writes it: ``rgb/kitchen/0001.jpg`` for ``kitchen/0001``.
        known: names of images.

    Returns:
        The last part of the path, without the suffix of an image, where none is known.
    """
    path = PurePosixPath(unicodedata.normalize("NFC", text.replace("\\", "/")))
    if path.suffix.lower() in IMAGE_SUFFIXES:
        path = path.with_suffix("")
    tails = ["/".join(path.parts[place:]) for place in range(len(path.parts))]
    return next((tail for tail in tails if tail in known), path.name)


def read_depth_png(path: Path, dtype: type) -> np.ndarray:
    """Return a depth PNG as (H, W) of ``dtype``; raises DatasetError for another kind."""
    try:
        depth = decode(path, cv2.IMREAD_UNCHANGED)
    except ImageFileError as error:
        raise DatasetError(str(error)) from error
    if depth.dtype != dtype or depth.ndim != 2:
        raise DatasetError(
            f"{path}: {depth.dtype} with shape {depth.shape}; one channel of "
            f"{np.dtype(dtype)} is needed"
        )
    return depth


def check_size(path: Path, image: np.ndarray, size: tuple[int, int]) -> None:
    """Raise DatasetError unless ``image`` has (height, width) ``size``."""
    if image.shape[:2] != size:
        raise DatasetError(
            f"{path}: {image.shape[1]}x{image.shape[0]}, {size[1]}x{size[0]} is needed"
        )
