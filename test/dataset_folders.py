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

"""Small data folders for the tests of training."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import yaml

from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.training.synth.folder import RenderedFolder


def write_plain_folder(root: Path, count: int = 3, size: tuple[int, int] = (48, 64)) -> Path:
    """Return a folder of ``count`` images; depth falls from 4 m at the top to 1 m below."""
    (root / "rgb").mkdir(parents=True)
    (root / "depth").mkdir()
    height, width = size
    generator = np.random.default_rng(0)
    cameras = {}
    for index in range(count):
        name = f"{index:04d}"
        depth_m = np.linspace(4.0, 1.0, height)[:, None].repeat(width, axis=1)
        image = np.rint(depth_m / 5.0 * 255)[..., None].repeat(3, axis=2)
        image = np.clip(image + generator.normal(0, 5, image.shape), 0, 255)
        cv2.imwrite(str(root / "rgb" / f"{name}.jpg"), image.astype(np.uint8))
        depth_mm = np.rint(depth_m * 1000).astype(np.uint16)
        depth_mm[0, 0] = 0
        cv2.imwrite(str(root / "depth" / f"{name}.png"), depth_mm)
        cameras[name] = {
            "width": width, "height": height, "fx": 60.0 + index, "fy": 60.0 + index,
            "cx": width / 2 - 0.5, "cy": height / 2 - 0.5,
        }  # fmt: skip
    (root / "intrinsics.yaml").write_text(yaml.safe_dump({"images": cameras}))
    return root


def write_nyu_folder(root: Path, count: int = 2) -> Path:
    """Return an NYU folder with ``list.txt``: white border, red inside, depth steps column / 4."""
    (root / "rgb").mkdir(parents=True)
    (root / "depth").mkdir()
    image = np.full((480, 640, 3), 255, np.uint8)
    image[45:471, 41:601] = (0, 0, 200)  # OpenCV writes BGR: red
    steps = (np.arange(640) // 4).astype(np.uint8)[None].repeat(480, axis=0)
    steps[45, 41] = 255
    for index in range(count):
        cv2.imwrite(str(root / "rgb" / f"{index:04d}.jpg"), image)
        cv2.imwrite(str(root / "depth" / f"{index:04d}.png"), steps)
    (root / "list.txt").write_text("\n".join(f"{index:04d}" for index in range(count)))
    return root


def write_nyu_mat(path: Path, count: int = 3) -> Path:
    """Write NYU's .mat file: MATLAB's axes, a white border; red counts, depth rises rightwards."""
    import h5py

    images = np.full((count, 3, 640, 480), 255, np.uint8)
    depths = np.zeros((count, 640, 480), np.float32)
    for index in range(count):
        images[index, :, 41:601, 45:471] = np.array([index, 20, 40])[:, None, None]
        depths[index] = np.linspace(1.0, 8.0, 640)[:, None]
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file.create_dataset("images", data=images, chunks=(1, 3, 640, 480), compression=1)
        file.create_dataset("depths", data=depths, chunks=(1, 640, 480), compression=1)
    return path


KITTI_DRIVES = {"train": "2011_09_26_drive_0001_sync", "val": "2011_09_28_drive_0002_sync"}
KITTI_CALIBRATION = """calib_time: 09-Jan-2012 13:57:47
S_rect_02: 1.242000e+03 3.750000e+02
P_rect_02: 721.5 0 609.5 44.8 0 722.5 172.8 0.2 0 0 1 0.002
P_rect_03: 711.5 0 619.5 -339 0 712.5 182.8 2.2 0 0 1 0.003
"""


def write_kitti(root: Path, frames: tuple[int, ...] = (5, 6)) -> Path:
    """Write KITTI as its archives unpack: 60x40 images; 10 m in the lower half, else unknown."""
    for split, drive in KITTI_DRIVES.items():
        date = drive[:10]
        colour = root / "raw" / date / drive / "image_02" / "data"
        depth = root / "data_depth_annotated" / split / drive / "proj_depth/groundtruth/image_02"
        colour.mkdir(parents=True)
        depth.mkdir(parents=True)
        (root / "raw" / date / "calib_cam_to_cam.txt").write_text(KITTI_CALIBRATION)
        steps = np.zeros((40, 60), np.uint16)
        steps[20:] = 2560
        for frame in frames:
            cv2.imwrite(str(colour / f"{frame:010d}.png"), np.full((40, 60, 3), frame, np.uint8))
            cv2.imwrite(str(depth / f"{frame:010d}.png"), steps)
    return root


def write_tum(root: Path) -> Path:
    """Return a TUM sequence of 640x480: three colour images, depth of 1.5 m for the first two."""
    (root / "rgb").mkdir(parents=True)
    (root / "depth").mkdir()
    lists = {"rgb": ["# color images", "# timestamp filename"], "depth": ["# depth maps"]}
    stamps = {"rgb": ("10.000000", "10.033000", "10.300000"), "depth": ("10.012000", "10.040000")}
    for folder, values in stamps.items():
        for stamp in values:
            image = np.full((480, 640, 3), 90, np.uint8)
            if folder == "depth":
                image = np.full((480, 640), 7500, np.uint16)
                image[0] = 0
            cv2.imwrite(str(root / folder / f"{stamp}.png"), image)
            lists[folder].append(f"{stamp} {folder}/{stamp}.png")
        (root / f"{folder}.txt").write_text("\n".join(lists[folder]) + "\n")
    return root


def write_rendered_folder(
    root: Path, count: int
) -> tuple[RenderedFolder, np.ndarray, np.ndarray, Camera]:
    """Write one image ``count`` times as a renderer does; return the folder and what is in it.

    Half of the (48, 64, 3) image is red; four pixels of the depth (48, 64) in metres are none.
    """
    image = np.zeros((48, 64, 3), np.uint8)
    image[:, :32] = (250, 10, 20)  # red in RGB
    depth = np.linspace(0.5, 9.0, 48 * 64, dtype=np.float32).reshape(48, 64)
    depth[0, :4] = (0.0, np.nan, np.inf, 70.0)
    camera = Camera.from_horizontal_fov(64, 48, np.radians(70))
    folder = RenderedFolder(root)
    for index in range(count):
        folder.add(f"{index:04d}", image, depth, camera)
    return folder, image, depth, camera


def rendered_frames(root: Path) -> Iterator[tuple[bytes, bytes, Camera]]:
    """Yield the JPEG, the depth PNG and the camera of each image of a rendered folder, by name."""
    cameras = yaml.safe_load((root / "intrinsics.yaml").read_text())["images"]
    for jpeg in sorted((root / "rgb").glob("*.jpg")):
        depth = (root / "depth" / f"{jpeg.stem}.png").read_bytes()
        yield jpeg.read_bytes(), depth, Camera.pinhole(**cameras[jpeg.stem])
