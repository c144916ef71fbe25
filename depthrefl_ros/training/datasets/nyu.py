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

"""NYU Depth v2 (Silberman et al., ECCV 2012): the labelled images, as a folder or the .mat file.

Both are 640x480 with a white border, which is cut off: rows 45 to 470 and columns 41 to 600 stay.
Names are ``NNNN``, the zero-based index in the labelled set.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from depthrefl_ros.image_files import read_image
from depthrefl_ros.training.datasets.file_pairs import FilePairs
from depthrefl_ros.training.datasets.image_folder import (
    DatasetError,
    ImageFolder,
    Sample,
    check_size,
    read_depth_png,
    read_names,
    sha256_of,
)

ROWS = slice(45, 471)
COLUMNS = slice(41, 601)
SIZE = (480, 640)
# fx, fy, cx, cy of the toolbox's camera_params.m, with the principal point moved by the crop.
INTRINSICS = (518.86, 519.47, 325.58 - 41, 253.74 - 45)


def cropped(name: str, image: np.ndarray, depth_m: np.ndarray) -> Sample:
    """Return the sample within the white border, from full-size arrays."""
    image = np.ascontiguousarray(image[ROWS, COLUMNS])
    return Sample(name, image, np.ascontiguousarray(depth_m[ROWS, COLUMNS]), INTRINSICS)


class NyuFolder(ImageFolder):
    """``rgb/NNNN.jpg`` and 8-bit ``depth/NNNN.png``; without a list every image that has both.

    Metres are (v + 0.5) * 9.99547 / 255.
    """

    kind = "nyu"
    METRES_PER_STEP = 9.99547 / 255
    CAP = 255  # the depth PNGs end at 10 m: 255 only says "10 m or more"

    def __init__(self, root: str | Path, list_file: str | Path | None = None):
        self._pairs = FilePairs(Path(root), (".png",))
        super().__init__(root, self._pairs.names(list_file))
        self.without_depth = self._pairs.without_depth

    def load(self, name: str) -> Sample:
        """Decode one image: (426, 560, 3) uint8 and depth in metres, 0 at the cap."""
        colour_file, depth_file = self.files_of(name)
        image = read_image(colour_file)
        steps = read_depth_png(depth_file, np.uint8)
        check_size(depth_file, steps, SIZE)
        check_size(colour_file, image, SIZE)
        depth_m = (steps.astype(np.float32) + 0.5) * np.float32(self.METRES_PER_STEP)
        depth_m[steps == self.CAP] = 0.0
        return cropped(name, image, depth_m)

    def files_of(self, name: str) -> list[Path]:
        """Return colour and depth."""
        return list(self._pairs.of(name))


class NyuMat(ImageFolder):
    """The official ``nyu_depth_v2_labeled.mat``: MATLAB 7.3, which is HDF5, read with h5py.

    MATLAB stores columns first, so ``images`` is (N, 3, 640, 480) uint8 and ``depths``
    (N, 640, 480) float32, the inpainted depth in metres. One image is read at a time.

    Args:
        path: of the file.
        list_file: zero-based indices, one a line (MATLAB's split lists count from 1).
    """

    kind = "nyu_mat"

    def __init__(self, path: str | Path, list_file: str | Path | None = None):
        self.path = Path(path)
        with self._open() as file:
            count = self._check(file)
        names = [f"{index:04d}" for index in range(count)]
        if list_file:
            names = read_names(list_file)
            for name in names:
                if not name.isdigit() or int(name) >= count:
                    raise DatasetError(f"{list_file}: {name!r} is no index from 0 to {count - 1}")
        super().__init__(self.path.parent, names)

    def load(self, name: str) -> Sample:
        """Read one image: (426, 560, 3) uint8 and depth in metres."""
        try:
            # Opened for every image: an open HDF5 file must not be shared by forked processes.
            with self._open() as file:
                image = file["images"][int(name)].transpose(2, 1, 0)
                depth_m = file["depths"][int(name)].T.astype(np.float32)
        except OSError as error:
            raise DatasetError(f"{self.path}: image {name} cannot be read: {error}") from error
        known = np.isfinite(depth_m) & (depth_m > 0)
        return cropped(name, image, np.where(known, depth_m, np.float32(0)))

    def files_of(self, name: str) -> list[Path]:
        """Return the one file."""
        return [self.path]

    def fingerprint(self) -> str:
        """Return the SHA-256 (hex) over the file's SHA-256 and the sorted names."""
        text = "\n".join([sha256_of(self.path), *sorted(self.names)])
        return hashlib.sha256(text.encode()).hexdigest()

    def _open(self):
        try:
            import h5py
        except ImportError as error:
            raise DatasetError(f"{self.path}: reading it needs h5py: pip install h5py") from error
        try:
            return h5py.File(self.path, "r")
        except OSError as error:
            raise DatasetError(
                f"{self.path}: cannot be read as MATLAB 7.3 (HDF5): {error}"
            ) from error

    def _check(self, file) -> int:
        """Return the number of images; raises DatasetError if the arrays are not NYU's."""
        for key, shape in (("images", (3, *SIZE[::-1])), ("depths", SIZE[::-1])):
            if key not in file:
                raise DatasetError(f"{self.path}: has no array '{key}'")
            if file[key].shape[1:] != shape:
                raise DatasetError(
                    f"{self.path}: '{key}' has shape {file[key].shape}, (N, "
                    f"{', '.join(map(str, shape))}) is needed"
                )
        if len(file["images"]) != len(file["depths"]):
            raise DatasetError(
                f"{self.path}: {len(file['images'])} images but {len(file['depths'])} depths"
            )
        return len(file["images"])
