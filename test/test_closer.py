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

"""Views from closer by: where every pixel lies, what is refused, and the command."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.tools.render import main as render_tool
from depthrefl_ros.training.closer import closer_view, closer_views, evened
from depthrefl_ros.training.datasets import open_dataset
from depthrefl_ros.training.datasets.image_folder import Sample

WIDTH, HEIGHT, FOCAL = 480, 360, 390.0
INTRINSICS = (FOCAL, FOCAL, (WIDTH - 1) / 2, (HEIGHT - 1) / 2)


def rays() -> np.ndarray:
    """(3, H, W) with z = 1."""
    v, u = np.mgrid[0:HEIGHT, 0:WIDTH]
    fx, fy, cx, cy = INTRINSICS
    return np.stack([(u - cx) / fx, (v - cy) / fy, np.ones((HEIGHT, WIDTH))])


def room(steps_m: float = 0.0, nearer: float = 1.0) -> Sample:
    """Make a table top before a slanted wall; a pixel's colour says where in the picture it is."""
    x, y, _ = rays()
    wall = 1.9 / (1 - 0.3 * x)
    table = np.where(y > 0.05, 0.42 / np.maximum(y, 0.05), 9.0)
    depth = (np.minimum(wall, table) / nearer).astype(np.float32)
    if steps_m:
        depth = (np.round(depth / steps_m) * steps_m).astype(np.float32)
    v, u = np.mgrid[0:HEIGHT, 0:WIDTH]
    image = np.stack([u / WIDTH * 255, v / HEIGHT * 255, 0 * u], axis=-1).astype(np.uint8)
    return Sample("room", image, depth, INTRINSICS)


def rigid_fit(first: np.ndarray, second: np.ndarray) -> tuple[float, np.ndarray]:
    """Scale from (3, n) to (3, n) and residuals (n,) of the best rotation (Umeyama 1991)."""
    a, b = (each - each.mean(axis=1, keepdims=True) for each in (first, second))
    left, values, right = np.linalg.svd(b @ a.T)
    sign = np.diag([1, 1, np.sign(np.linalg.det(left @ right))])
    scale = np.trace(np.diag(values) @ sign) / (a**2).sum()
    return scale, np.linalg.norm(b - scale * left @ sign @ right @ a, axis=0)


@pytest.mark.parametrize("steps_m", [0.0, 0.039])
def test_every_pixel_lies_where_its_colour_says(steps_m):
    """Colour gives the point in the photograph, depth the point before the new camera."""
    truth, mount = room(), Pose.from_mount(0.9, 0.2, 0.05)
    seen, camera = closer_view(replace(room(steps_m), mount=mount), np.random.default_rng(2))
    assert seen.image.shape == (240, 320, 3) and seen.depth_m.dtype == np.float32
    assert seen.intrinsics == (camera.fx, camera.fy, camera.cx, camera.cy)
    known = cv2.erode((seen.depth_m > 0).astype(np.uint8), np.ones((7, 7))) > 0
    assert known.mean() > 0.6
    assert np.median(seen.depth_m[known]) < 0.7 * np.median(truth.depth_m)
    v, u = np.nonzero(known)
    depth = seen.depth_m[known]
    new = np.stack([(u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy, 1 + 0 * u]) * depth
    columns = seen.image[known][:, 0].astype(float) / 255 * WIDTH
    lines = seen.image[known][:, 1].astype(float) / 255 * HEIGHT
    at = tuple(
        np.clip(np.rint(x).astype(int), 0, n - 1) for x, n in ((lines, HEIGHT), (columns, WIDTH))
    )
    old = rays()[:, at[0], at[1]] * truth.depth_m[at]
    scale, residuals = rigid_fit(old, new)
    assert scale == pytest.approx(1.0, abs=0.01)
    assert np.median(residuals) < 0.01
    # The mounts put both where they are in the room.
    apart = seen.mount.apply(new.T) - mount.apply(old.T)
    assert np.median(np.linalg.norm(apart, axis=1)) < 0.015


def test_the_steps_of_coded_depth_are_evened_out_and_edges_stay():
    exact, coded = room().depth_m, room(0.039).depth_m
    steady = evened(coded)
    inside = np.s_[10:-10, 10:-10]
    before, after = (np.abs(x - exact)[inside].mean() for x in (coded, steady))
    assert after < 0.5 * before
    jump = np.abs(np.diff(exact, axis=0)) > 0.3
    assert jump.any() == (np.abs(np.diff(steady, axis=0)) > 0.25).any()
    assert (evened(np.zeros((20, 20), np.float32)) == 0).all()


def test_what_is_far_or_without_depth_gives_no_view():
    rng = np.random.default_rng(0)
    assert closer_view(room(nearer=0.3), rng) is None
    blind = room()
    assert closer_view(Sample("x", blind.image, 0 * blind.depth_m, INTRINSICS), rng) is None
    assert list(closer_views([room(nearer=0.3)], 3, rng, 320, 240, {})) == []


def write_photographs(root: Path, count: int = 1) -> Path:
    """Write the room as a plain folder."""
    for part in ("rgb", "depth"):
        (root / part).mkdir(parents=True)
    sample = room()
    for name in map(str, range(count)):
        cv2.imwrite(str(root / "rgb" / f"{name}.png"), sample.image[..., ::-1])
        depth_mm = (sample.depth_m * 1000).astype(np.uint16)
        cv2.imwrite(str(root / "depth" / f"{name}.png"), depth_mm)
    camera = dict(zip(("fx", "fy", "cx", "cy"), INTRINSICS, strict=True))
    (root / "intrinsics.yaml").write_text(
        yaml.safe_dump({"camera": {"width": WIDTH, "height": HEIGHT, **camera}})
    )
    return root


def test_an_image_that_cannot_be_read_is_left_out_by_name(tmp_path, capsys):
    photographs = write_photographs(tmp_path / "photographs", 2)
    (photographs / "rgb" / "1.png").write_bytes(b"damaged")
    out, report = tmp_path / "closer", tmp_path / "report.json"
    command = ["closer", str(photographs), str(out), "--count", "3", "--json", str(report)]
    assert render_tool(command) == 0
    said = capsys.readouterr().err
    assert "warning: 1 images cannot be read, the first: " in said and "rgb/1.png: not an" in said
    assert {sample.name.partition("_")[2] for sample in open_dataset(out)} == {"0"}
    assert json.loads(report.read_text())["unreadable"] == ["1"]

    (photographs / "rgb" / "0.png").write_bytes(b"damaged")
    assert render_tool(["closer", str(photographs), str(tmp_path / "none"), "--count", "3"]) == 2
    assert "; 2 images cannot be read, the first: " in capsys.readouterr().err


def test_the_command_makes_a_folder_that_training_reads(tmp_path, capsys):
    photographs = write_photographs(tmp_path / "photographs")
    mounts = tmp_path / "mounts.yaml"
    mounts.write_text("'0': {height_m: 1.2, pitch_rad: 0.3, roll_rad: 0.0}")
    photographs = f"{photographs},mounts={mounts}"
    out = tmp_path / "closer"
    command = ["closer", photographs, str(out), "--count", "3", "--seed", "5"]
    assert render_tool(command) == 0
    made = open_dataset(out)
    assert len(made) == 3
    assert all(sample.mount is not None for sample in made)
    depth = made[0].depth_m
    assert 0.3 < np.median(depth[depth > 0]) < 1.0
    assert render_tool(command) == 2
    assert "holds" in capsys.readouterr().err
