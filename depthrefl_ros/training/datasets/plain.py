"""The plain folder: what ``render`` makes, and the simplest form for data of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

from depthrefl_ros.image_files import read_image
from depthrefl_ros.training.datasets.image_folder import (
    DatasetError,
    ImageFolder,
    Sample,
    check_size,
    read_depth_png,
    read_names,
)

INTRINSICS_FILE = "intrinsics.yaml"
COLOUR_SUFFIXES = (".jpg", ".png")


class View(NamedTuple):
    """A camera's image (height, width) in pixels and its (fx, fy, cx, cy)."""

    size: tuple[int, int]
    intrinsics: tuple[float, float, float, float]


class CameraFile:
    """The cameras in ``intrinsics.yaml``.

    ``camera: {width, height, fx, fy, cx, cy}`` for all images, or ``images: {NNNN: {...}}`` with
    one entry an image.

    Raises:
        DatasetError: the file is missing or holds neither.
    """

    def __init__(self, path: Path):
        self.path = path
        if not path.is_file():
            raise DatasetError(f"{path}: missing; it must hold 'camera' or 'images'")
        try:
            content = yaml.safe_load(path.read_text())
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise DatasetError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
        content = content if isinstance(content, dict) else {}
        self._shared: dict[str, Any] | None = content.get("camera")
        self._own = {str(key): value for key, value in (content.get("images") or {}).items()}
        if self._shared is None and not self._own:
            raise DatasetError(f"{path}: needs 'camera: {{...}}' or 'images: {{NNNN: {{...}}}}'")

    def knows(self, name: str) -> bool:
        """Return whether there is a camera for image ``name``."""
        return self._shared is not None or name in self._own

    def of(self, name: str) -> View:
        """Return the camera of image ``name``; raises DatasetError for an incomplete entry."""
        if not self.knows(name):
            raise DatasetError(f"{self.path}: no entry for image '{name}'")
        camera = self._own.get(name, self._shared)
        try:
            size = (int(camera["height"]), int(camera["width"]))
            intrinsics = tuple(float(camera[key]) for key in ("fx", "fy", "cx", "cy"))
        except KeyError as error:
            raise DatasetError(f"{self.path}: image '{name}' has no {error}") from error
        except (TypeError, ValueError) as error:
            raise DatasetError(f"{self.path}: image '{name}' has {camera}: {error}") from error
        if min(*size, *intrinsics[:2]) <= 0:
            raise DatasetError(
                f"{self.path}: image '{name}' has {camera}; sizes and focal lengths are positive"
            )
        return View(size, intrinsics)


class PlainFolder(ImageFolder):
    """``rgb/NNNN.jpg`` or ``.png``, 16-bit ``depth/NNNN.png`` in millimetres, ``intrinsics.yaml``.

    Depth is along the optical axis, 0 where unknown. Without a list file every image that has
    colour, depth and intrinsics is taken (a renderer may still be adding to the folder).
    """

    kind = "plain"

    def __init__(self, root: str | Path, list_file: str | Path | None = None):
        self._cameras = CameraFile(Path(root) / INTRINSICS_FILE)
        super().__init__(root, read_names(list_file) if list_file else self._complete(Path(root)))

    def _complete(self, root: Path) -> list[str]:
        """Return the names that have colour, depth and intrinsics, sorted."""
        names = {path.stem for path in (root / "rgb").glob("*") if path.suffix in COLOUR_SUFFIXES}
        names &= {path.stem for path in (root / "depth").glob("*.png")}
        return sorted(name for name in names if self._cameras.knows(name))

    def load(self, name: str) -> Sample:
        """Decode one image with its depth in metres and its own intrinsics."""
        view = self._cameras.of(name)
        colour_file, depth_file, _ = self.files_of(name)
        image = read_image(colour_file)
        depth_mm = read_depth_png(depth_file, np.uint16)
        check_size(colour_file, image, view.size)
        check_size(depth_file, depth_mm, view.size)
        depth_m = depth_mm.astype(np.float32) * np.float32(1e-3)
        return Sample(name, image, depth_m, view.intrinsics)

    def files_of(self, name: str) -> list[Path]:
        """Return colour, depth and the intrinsics."""
        candidates = [self.root / "rgb" / f"{name}{suffix}" for suffix in COLOUR_SUFFIXES]
        colour_file = next((path for path in candidates if path.exists()), candidates[0])
        return [colour_file, self.root / "depth" / f"{name}.png", self.root / INTRINSICS_FILE]
