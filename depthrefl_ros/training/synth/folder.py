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

"""The plain dataset folder: rgb/NNNN.jpg, depth/NNNN.png, intrinsics.yaml and mounts.yaml.

mounts.yaml has how high over the floor and how inclined the camera was in each image. A drive also
has glass/NNNN.png, which is not 0 where the depth is that of a pane or a window.
Depth is 16-bit millimetres along the optical axis, 0 unknown. A picture appears in rgb/ last and
by renaming, so whatever is there and has a camera is complete, and an interrupted run can go on.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import yaml

from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.training.whole_files import write_file

OPTIONS = {  # of the command line, by key of the recipe where it is not the same word
    "kinds": "--kind",
    "cameras": "--camera",
    "in_turn": "--in-turn",
    "world_digest": "of the world's files",
}


class FolderError(ValueError):
    """A dataset folder lacks something; the message names the file."""


class RenderedFolder:
    """A dataset folder that is being written or read.

    Args:
        root: the folder; made with the first file that is written.
        jpeg_quality: of the pictures, 1 to 100.
        png_level: of the depth's compression, 0 to 9; 9 takes 0.2 s an image of 640x480.
        flush_every: images after which the YAML files are written anew; the rest by ``flush``.
    """

    def __init__(
        self,
        root: str | Path,
        jpeg_quality: int = 92,
        png_level: int = 9,
        flush_every: int = 1,
    ) -> None:
        self._png_level = png_level
        self._flush_every, self._unwritten = flush_every, 0
        self.root, self.jpeg_quality = Path(root), jpeg_quality
        self._intrinsics = _load(self.root / "intrinsics.yaml")
        self._mounts = _load(self.root / "mounts.yaml")

    def claim(self, recipe: dict) -> None:
        """Note in recipe.yaml how the folder is made, or check that it is made in the same way.

        Raises:
            FolderError: the folder holds something else, or was made in another way.
        """
        path = self.root / "recipe.yaml"
        if path.is_file():
            _compare(yaml.safe_load(path.read_text()) or {}, recipe, path)
            return
        if self.root.exists() and not self.root.is_dir():
            raise FolderError(f"{self.root} is a file; a folder's name is needed")
        if self.root.is_dir() and any(self.root.iterdir()):
            raise FolderError(
                f"{self.root} holds files that `render` did not make; choose a new folder"
            )
        write_file(self.root / "recipe.yaml", yaml.safe_dump(recipe, sort_keys=False).encode())

    def names(self) -> list[str]:
        """Return the names of the complete images, sorted."""
        return sorted(path.stem for path in (self.root / "rgb").glob("*.jpg"))

    def __contains__(self, name: str) -> bool:
        # A picture whose camera was not flushed before a stop is not complete.
        return name in self._intrinsics and (self.root / "rgb" / f"{name}.jpg").is_file()

    def add(
        self,
        name: str,
        image: np.ndarray,
        depth_m: np.ndarray,
        camera: Camera,
        mount: dict[str, float] | None = None,
        glass: np.ndarray | None = None,
    ) -> None:
        """Write one image.

        Args:
            name: without folder and ending.
            image: (H, W, 3) uint8 RGB.
            depth_m: (H, W) float32 metres, 0 unknown.
            camera: pinhole camera of the image.
            mount: arguments of `Pose.from_mount` (metres, radians).
            glass: (H, W) bool, where there are panes.
        """
        if glass is not None:
            write_file(self.root / f"glass/{name}.png", _encode_png(glass.astype(np.uint8) * 255))
        write_file(self.root / f"depth/{name}.png", encode_depth(depth_m, self._png_level))
        self._intrinsics[name] = {
            "width": camera.width, "height": camera.height,
            "fx": camera.fx, "fy": camera.fy, "cx": camera.cx, "cy": camera.cy,
        }  # fmt: skip
        if mount is not None:
            self._mounts[name] = mount
        self._unwritten += 1
        if self._unwritten >= self._flush_every:
            self.flush()
        write_file(self.root / f"rgb/{name}.jpg", encode_image(image, self.jpeg_quality))

    def flush(self) -> None:
        """Write the cameras and mounts of all images."""
        self._unwritten = 0
        self._dump("intrinsics.yaml", self._intrinsics)
        if self._mounts:
            self._dump("mounts.yaml", self._mounts)

    def known(self) -> list[str]:
        """Return the names of all images with a camera in intrinsics.yaml."""
        return list(self._intrinsics)

    def mounts(self) -> dict[str, dict[str, float]]:
        """Return the mount of each image that was added with one.

        Raises:
            FolderError: there is none.
        """
        if not self._mounts:
            raise FolderError(
                f"{self.root / 'mounts.yaml'} is missing: it says how high and how "
                "inclined the camera was in each image"
            )
        return self._mounts

    def glass(self, name: str) -> np.ndarray | None:
        """Return where an image has panes, (H, W) bool; None where the folder does not say.

        Raises:
            FolderError: the file is no image of one channel.
        """
        path = self.root / "glass" / f"{name}.png"
        if not path.is_file():
            return None
        found = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        if found is None or found.ndim != 2:
            raise FolderError(f"{path}: is no PNG of one channel")
        return found > 0

    def _dump(self, name: str, images: dict[str, dict]) -> None:
        dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # ten times as fast
        text = yaml.dump({"images": images}, Dumper=dumper, default_flow_style=None)
        write_file(self.root / name, text.encode())


_NOTED_LATER = ("count", "world_digest")  # not by older versions


def _compare(noted: dict, recipe: dict, path: Path) -> None:
    """Raise FolderError where a recipe is not the one that is noted in the file `path`."""
    advice = "choose another folder, or go on with the same options"
    for key, value in recipe.items():
        if noted.get(key) is True and value:
            continue  # older versions noted that there was a folder, and not which
        if key in _NOTED_LATER and key not in noted:
            continue
        if noted.get(key) != value:
            has = f"has {_named(key)}: {noted[key]}" if key in noted else f"lacks {_named(key)}"
            raise FolderError(f"{path} {has}; {value} was asked for: {advice}")
    for key in (key for key in noted if key not in recipe):
        raise FolderError(
            f"{path} has {_named(key)}: {noted[key]}, which was not asked for: {advice}"
        )


def _named(key: str) -> str:
    """Return a recipe's key, and the option where it is called otherwise."""
    return f"{key} ({OPTIONS[key]})" if key in OPTIONS else key


def _load(path: Path) -> dict[str, dict]:
    if not path.is_file():
        return {}
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return (yaml.load(path.read_text(), Loader=loader) or {}).get("images", {})


def encode_image(image: np.ndarray, quality: int) -> bytes:
    """Return (H, W, 3) uint8 RGB as JPEG."""
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def encode_depth(depth_m: np.ndarray, png_level: int = 9) -> bytes:
    """Return (H, W) float metres as 16-bit PNG in millimetres; above 65.535 m becomes 0."""
    millimetres = np.rint(np.nan_to_num(depth_m, nan=0.0, posinf=0.0, neginf=0.0) * 1000.0)
    millimetres[(millimetres < 0) | (millimetres > 65535)] = 0
    return _encode_png(millimetres.astype(np.uint16), png_level)


def _encode_png(pixels: np.ndarray, png_level: int = 9) -> bytes:
    return cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, png_level])[1].tobytes()
