"""Small data folders for the tests of training."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import yaml


def write_plain_folder(root: Path, count: int = 3, size: tuple[int, int] = (48, 64)) -> Path:
    """A plain folder of ``count`` images; depth falls from 4 m at the top to 1 m at the bottom."""
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
    """An NYU folder with ``list.txt``: white border, red inside, depth step equal to column / 4."""
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
