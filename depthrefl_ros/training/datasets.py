"""Images with metric depth and intrinsics from folders.

Two folder formats are read:

* ``NyuFolder``: the labelled NYU Depth v2 images as 640x480 ``rgb/NNNN.jpg`` and 8-bit
  ``depth/NNNN.png``, with list files; only the part without the white border is used.
* ``PlainFolder``: ``rgb/NNNN.jpg``, ``depth/NNNN.png`` (16-bit millimetres along the optical
  axis, 0 unknown) and ``intrinsics.yaml``; what ``training/synth`` renders.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import yaml


class DatasetError(ValueError):
    """A data folder is incomplete or malformed; the message names the file and what is wrong."""


@dataclass(frozen=True)
class Sample:
    """One image with its truth.

    Attributes:
        name: file stem.
        image: (H, W, 3) uint8 RGB.
        depth_m: (H, W) float32 metres along the optical axis; 0 where unknown.
        intrinsics: (fx, fy, cx, cy) in pixels of ``image``, pixel centres at integers.
    """

    name: str
    image: np.ndarray
    depth_m: np.ndarray
    intrinsics: tuple[float, float, float, float]


class ImageFolder(Sequence):
    """A list of samples that are decoded once and then kept in memory."""

    def __init__(self, root: str | Path, names: list[str]):
        self.root = Path(root)
        self.names = names
        self._samples: list[Sample | None] = [None] * len(names)
        if not names:
            raise DatasetError(f"{self.root}: no images; rgb/ must hold at least one .jpg")

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.names)

    def __getitem__(self, index: int) -> Sample:
        """Return sample ``index``, decoding it on first use; raises DatasetError if unreadable."""
        sample = self._samples[index]
        if sample is None:
            sample = self._samples[index] = self.load(self.names[index])
        return sample

    def preload(self) -> None:
        """Decode everything now, so that forked loader processes share the memory."""
        for index in range(len(self)):
            self[index]

    def load(self, name: str) -> Sample:
        """Decode the sample called ``name``; a subclass says how."""
        raise NotImplementedError

    def files(self) -> list[Path]:
        """Return the files that define the data set."""
        return [self.root / "rgb" / f"{name}.jpg" for name in self.names] + [
            self.root / "depth" / f"{name}.png" for name in self.names
        ]

    def fingerprint(self) -> str:
        """Return the SHA-256 (hex) over the sorted names and SHA-256 of all files of the set."""
        combined = hashlib.sha256()
        for path in sorted(self.files()):
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            combined.update(f"{path.relative_to(self.root)} {content}\n".encode())
        return combined.hexdigest()


class NyuFolder(ImageFolder):
    """The labelled NYU Depth v2 images named in a list file, without their white border."""

    ROWS = slice(45, 471)
    COLUMNS = slice(41, 601)
    METRES_PER_STEP = 9.99547 / 255
    CAP = 255  # the depth PNGs end at 10 m: 255 only says "10 m or more"
    INTRINSICS = (518.86, 519.47, 325.58 - 41, 253.74 - 45)

    def __init__(self, root: str | Path, list_file: str | Path):
        super().__init__(root, read_list(list_file))

    def load(self, name: str) -> Sample:
        """Decode one image: (426, 560, 3) uint8 and depth in metres, 0 at the cap."""
        image = read_image(self.root / "rgb" / f"{name}.jpg")
        steps = read_depth_png(self.root / "depth" / f"{name}.png", np.uint8)
        check_size(self.root / "depth" / f"{name}.png", steps, (480, 640))
        check_size(self.root / "rgb" / f"{name}.jpg", image, (480, 640))
        steps = steps[self.ROWS, self.COLUMNS]
        depth_m = (steps.astype(np.float32) + 0.5) * np.float32(self.METRES_PER_STEP)
        depth_m[steps == self.CAP] = 0.0
        image = np.ascontiguousarray(image[self.ROWS, self.COLUMNS])
        return Sample(name, image, depth_m, self.INTRINSICS)


class PlainFolder(ImageFolder):
    """A folder of ``rgb/``, ``depth/`` (16-bit millimetres) and ``intrinsics.yaml``.

    ``intrinsics.yaml`` holds ``images: {NNNN: {width, height, fx, fy, cx, cy}}`` or one
    ``camera: {width, height, fx, fy, cx, cy}`` for all. Without a list file every image that
    has intrinsics, colour and depth is taken (a renderer may still be adding to the folder).
    """

    def __init__(self, root: str | Path, list_file: str | Path | None = None):
        path = Path(root) / "intrinsics.yaml"
        if not path.is_file():
            raise DatasetError(f"{path}: missing; a plain folder needs its cameras there")
        content = yaml.safe_load(path.read_text()) or {}
        self._shared_camera = content.get("camera")
        self._cameras = {str(key): value for key, value in (content.get("images") or {}).items()}
        if self._shared_camera is None and not self._cameras:
            raise DatasetError(f"{path}: needs 'camera: {{...}}' or 'images: {{NNNN: {{...}}}}'")
        super().__init__(root, read_list(list_file) if list_file else self._complete(Path(root)))

    def _complete(self, root: Path) -> list[str]:
        """Return the names that have colour, depth and intrinsics, sorted."""
        names = {path.stem for path in (root / "rgb").glob("*.jpg")}
        names &= {path.stem for path in (root / "depth").glob("*.png")}
        if self._shared_camera is None:
            names &= set(self._cameras)
        return sorted(names)

    def load(self, name: str) -> Sample:
        """Decode one image with its depth in metres and its own intrinsics."""
        camera = self._cameras.get(name, self._shared_camera)
        path = self.root / "intrinsics.yaml"
        if camera is None:
            raise DatasetError(f"{path}: no entry for image '{name}'")
        try:
            size = (int(camera["height"]), int(camera["width"]))
            intrinsics = tuple(float(camera[key]) for key in ("fx", "fy", "cx", "cy"))
        except KeyError as error:
            raise DatasetError(f"{path}: image '{name}' has no {error}") from error
        image = read_image(self.root / "rgb" / f"{name}.jpg")
        depth_mm = read_depth_png(self.root / "depth" / f"{name}.png", np.uint16)
        check_size(self.root / "rgb" / f"{name}.jpg", image, size)
        check_size(self.root / "depth" / f"{name}.png", depth_mm, size)
        return Sample(name, image, depth_mm.astype(np.float32) * np.float32(1e-3), intrinsics)

    def files(self) -> list[Path]:
        """Return images, depths and the intrinsics."""
        return [*super().files(), self.root / "intrinsics.yaml"]


def read_list(path: str | Path) -> list[str]:
    """Return the names in a list file, one a line; raises DatasetError if absent or empty."""
    path = Path(path)
    if not path.is_file():
        raise DatasetError(f"{path}: list file missing")
    names = path.read_text().split()
    if not names:
        raise DatasetError(f"{path}: list file is empty; it needs one image name a line")
    return names


def read_image(path: Path) -> np.ndarray:
    """Return an image as (H, W, 3) uint8 RGB; raises DatasetError if it cannot be decoded."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise DatasetError(f"{path}: missing or not an image")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def read_depth_png(path: Path, dtype: type) -> np.ndarray:
    """Return a depth PNG as (H, W) of ``dtype``; raises DatasetError for another kind."""
    depth = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if depth is None:
        raise DatasetError(f"{path}: missing or not an image")
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
