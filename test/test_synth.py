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

"""Synthetic scenes, rendered: exact depth, every kind of space, models and worlds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from dataset_folders import rendered_frames

from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.training.synth.folder import RenderedFolder

ROOT = Path(__file__).resolve().parents[1]
SYNTH_PYTHON = Path(
    os.environ.get("DEPTHREFL_SYNTH_PYTHON", ROOT / ".venv-synth" / "bin" / "python")
)


def test_without_blender_the_command_names_the_requirements(tmp_path):
    # Where Blender is there is only what requirements-synth.txt has: neither mcap nor torch.
    code = "import sys; sys.modules.update(dict.fromkeys(['bpy', 'mcap', 'torch']))\n" + (
        "from depthrefl_ros.tools.render import main\n"
        f"sys.exit(main(['rooms', {str(tmp_path / 'out')!r}, '--count', '1']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert "requirements-synth.txt" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


EXACT_DEPTH = """
import json, math, sys
import numpy as np
from depthrefl_ros.training.synth.materials import Materials
from depthrefl_ros.training.synth.renderer import PictureSettings, Renderer
from depthrefl_ros.training.synth.stage import Stage
from depthrefl_ros.training.synth.views import View

stage = Stage()
paint = Materials(np.random.default_rng(0)).plain((0.6, 0.6, 0.6), 0.9)
stage.block((4.0, -20, -20), (4.1, 20, 20), paint)     # a wall 4 m ahead of the camera
stage.block((2.0, -0.5, 1.0), (2.4, 0.3, 1.4), paint)  # a box, its front 2 m ahead
stage.block((-5, -20, -0.1), (5, 20, 0.0), paint)      # the floor
stage.block((2.5, -2, 0.5), (2.51, -0.7, 1.8), Materials(np.random.default_rng(1)).glass())
stage.area_light((0, 0, 3), (2, 2), 200, (1, 1, 1))
level = View((0.0, 0.0, 1.0), 0.0, 0.0, 0.0, math.radians(70))
tilted = View((0.0, 0.0, 1.0), 0.0, math.radians(-20), math.radians(10), math.radians(70))
renderer = Renderer(stage, PictureSettings(64, 48, samples=1, threads=1))
for name, view in (("level", level), ("tilted", tilted)):
    rendered = renderer.render(view)
    np.savez(sys.argv[1] + f"/{name}.npz", image=rendered.image, depth=rendered.depth_m,
             K=rendered.camera.K, axes=view.axes(), glass=rendered.is_glass)
"""


@pytest.fixture(scope="module")
def known_scene(tmp_path_factory):
    """Return a wall, a box and a floor at known places, rendered level and tilted."""
    has_bpy = (
        SYNTH_PYTHON.is_file()
        and not subprocess.run(
            [SYNTH_PYTHON, "-c", "import bpy, OpenEXR"], capture_output=True, timeout=60
        ).returncode
    )
    if not has_bpy:
        pytest.skip(f"{SYNTH_PYTHON} has no bpy: install requirements-synth.txt into .venv-synth")
    folder = tmp_path_factory.mktemp("scene")
    done = subprocess.run(
        [SYNTH_PYTHON, "-c", EXACT_DEPTH, folder],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return {name: dict(np.load(folder / f"{name}.npz")) for name in ("level", "tilted")}


def test_depth_is_along_the_optical_axis_to_a_millimetre(known_scene):
    depth = known_scene["level"]["depth"]
    assert np.abs(depth[2, :] - 4.0).max() < 0.001  # the whole row: no growth towards the corners
    assert np.abs(depth[20, 32] - 2.0) < 0.001


def test_depth_ends_at_a_pane_and_its_place_is_known(known_scene):
    """The pane spans y -2..-0.7 and z 0.5..1.8, 2.5 m ahead, before a wall at 4 m."""
    depth, K = known_scene["level"]["depth"], known_scene["level"]["K"]
    glass = known_scene["level"]["glass"]
    v, u = np.mgrid[:48, :64]
    y, z = 2.5 * (K[0, 2] - u) / K[0, 0], 1.0 + 2.5 * (K[1, 2] - v) / K[1, 1]
    expected = (y > -2.0) & (y < -0.7) & (z > 0.5) & (z < 1.8)
    np.testing.assert_array_equal(glass, expected)
    assert glass.sum() > 100 and np.abs(depth[glass] - 2.5).max() < 0.001


def test_intrinsics_project_a_known_edge_to_where_it_is_seen(known_scene):
    """The box spans y -0.5..0.3 and z 1.0..1.4 at 2 m; image x is -y, image y is camera - z."""
    depth, K = known_scene["level"]["depth"], known_scene["level"]["K"]
    box = np.argwhere(np.abs(depth - 2.0) < 0.01)
    top, left = box.min(axis=0)
    bottom, right = box.max(axis=0)
    edges_u = K[0, 2] + K[0, 0] * np.array([-0.3, 0.5]) / 2.0
    edges_v = K[1, 2] + K[1, 1] * np.array([-0.4, 0.0]) / 2.0
    assert left == np.ceil(edges_u[0]) and right == np.floor(edges_u[1])
    assert top == np.ceil(edges_v[0]) and bottom == np.floor(edges_v[1])


def test_every_pixel_of_a_tilted_floor_back_projects_onto_it(known_scene):
    """Point = origin + depth * (K^-1 pixel) . axes; on the floor its z is 0."""
    scene = known_scene["tilted"]
    v, u = np.mgrid[0:48, 0:64]
    pixels = np.stack([u, v, np.ones_like(u)], axis=-1).reshape(-1, 3)
    rays = pixels @ np.linalg.inv(scene["K"]).T
    points = (rays * scene["depth"].reshape(-1, 1)) @ scene["axes"] + (0.0, 0.0, 1.0)
    floor = points[(points[:, 2] < 0.05) & (points[:, 0] < 3.9)]
    assert len(floor) > 500
    assert np.abs(floor[:, 2]).max() < 0.001


EVERY_KIND = """
import json, sys
import numpy as np
from depthrefl_ros.training.synth.rooms import KINDS, build_room
from depthrefl_ros.training.synth.stage import Stage
from depthrefl_ros.training.synth.views import choose_views

found = {}
for number, kind in enumerate(KINDS):
    stage = Stage()
    space, rng = build_room(stage, 50 + number, kind=kind)
    rows = []
    for view in choose_views(stage.cast, space.regions, rng, 3, stage.things()):
        rays = view.rays(32, 24)
        lengths = np.linalg.norm(rays, axis=1)
        ways = stage.cast(np.array(view.position), rays / lengths[:, None])[0] / lengths
        rows.append({"mount": view.pose(), "fov": view.horizontal_fov, "depth": ways.tolist()})
    found[kind] = rows
json.dump(found, open(sys.argv[1], "w"))
"""


def test_every_kind_of_space_is_built_and_seen_from_its_floor(known_scene, tmp_path):
    """By its mount a view's floor is at z = 0; only from a landing is there anything below it."""
    path = tmp_path / "kinds.json"
    done = subprocess.run(
        [SYNTH_PYTHON, "-c", EVERY_KIND, path],
        cwd=ROOT, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    kinds = json.loads(path.read_text())
    assert {"kitchen", "bathroom", "classroom", "lobby", "warehouse", "workshop"} < set(kinds)
    with_floor = 0
    for kind, rows in kinds.items():
        for row in rows:
            camera = Camera.from_horizontal_fov(32, 24, row["fov"])
            depth = np.array(row["depth"]).reshape(24, 32)
            assert np.isfinite(depth).mean() > 0.97, kind
            assert 0.2 < np.median(depth) < 14, kind
            v, u = np.mgrid[0:24, 0:32]
            rays = np.stack([(u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy, u * 0 + 1])
            points = np.moveaxis(rays * np.where(np.isfinite(depth), depth, 0), 0, -1)
            heights = Pose.from_mount(**row["mount"]).apply(points)[..., 2]
            assert heights.min() > -0.01 or kind == "stairs", kind
            with_floor += np.mean(np.abs(heights) < 0.002) > 0.05
    assert with_floor >= 9  # a quarter of the views


def test_the_command_renders_a_room_resumes_and_refuses_to_mix(known_scene, tmp_path):
    out, figures = tmp_path / "rooms", tmp_path / "figures.json"
    command = [SYNTH_PYTHON, "-m", "depthrefl_ros.tools.render", "rooms", out, "--count", "1",
               "--width", "64", "--height", "48", "--samples", "1", "--seed", "3"]  # fmt: skip

    def run(*more):
        return subprocess.run(
            [*command, *more], cwd=ROOT, capture_output=True, text=True, timeout=120
        )

    first = run("--json", figures)
    assert first.returncode == 0, first.stderr
    assert json.loads(figures.read_text())["images"] == 1
    jpeg, png, camera = next(rendered_frames(out))
    assert (camera.width, camera.height) == (64, 48)
    assert 40 <= np.degrees(2 * np.arctan(32 / camera.fx)) <= 120
    assert list(RenderedFolder(out).mounts()) == ["0000"]
    refused = run()
    assert refused.returncode == 2 and "--resume" in refused.stderr
    (out / "rgb" / "0000.jpg").unlink()
    assert run("--resume").returncode == 0
    assert next(rendered_frames(out))[:2] == (jpeg, png)  # the same seed, the same picture
    mixed = run("--resume", "--views", "2")
    assert mixed.returncode == 2 and "has views: 4; 2 was asked for" in mixed.stderr
    unmade = run("--resume", "--furniture", tmp_path)
    assert unmade.returncode == 2 and "sweethome3d-furniture" in unmade.stderr


def test_rooms_of_chosen_kinds(known_scene, tmp_path):
    def run(out, *kinds, camera="robot"):
        command = [SYNTH_PYTHON, "-m", "depthrefl_ros.tools.render", "rooms", tmp_path / out,
                   "--count", "1", "--width", "32", "--height", "24", "--samples", "1",
                   "--camera", camera]  # fmt: skip
        command += [part for kind in kinds for part in ("--kind", kind)]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)

    refused = run("a", "tunnel")
    assert refused.returncode == 2
    assert "--kind is 'tunnel'; known are living, bedroom, office" in refused.stderr
    refused = run("a", "corridor", camera="drone")
    assert "--camera is 'drone'; known are low, robot, carried, arm, high" in refused.stderr
    depths = []
    for kinds in (["corridor", "bathroom"], ["corridor"], ["bathroom"]):
        out = "_".join(kinds)
        assert run(out, *kinds).returncode == 0
        folder = RenderedFolder(tmp_path / out)
        _, depth_png, _ = next(rendered_frames(folder.root))
        depths.append(depth_png)
        (mount,) = folder.mounts().values()
        assert 0.35 <= mount["height_m"] <= 1.0
    assert depths[0] == depths[1] != depths[2]  # the same seed, another kind


def test_looks_change_the_picture_and_nothing_of_the_depth(known_scene, tmp_path):
    """A window front shows a panorama, posters and floors photographs; the room stays the same."""
    (tmp_path / "looks").mkdir()
    rng = np.random.default_rng(0)
    panorama = rng.uniform(0, 4, (16, 32, 3)).astype(np.float32)
    cv2.imwrite(str(tmp_path / "looks" / "sky.hdr"), panorama)
    cv2.imwrite(str(tmp_path / "looks" / "photo.png"), rng.integers(0, 255, (48, 64, 3), np.uint8))
    command = [SYNTH_PYTHON, "-m", "depthrefl_ros.tools.render", "rooms", "--count", "6",
               "--views", "6", "--width", "64", "--height", "48", "--samples", "1", "--seed", "6",
               "--in-turn"]  # fmt: skip
    dressed = ("--panoramas", tmp_path / "looks", "--photographs", tmp_path / "looks")
    for name, more in (("plain", ()), ("dressed", dressed)):
        done = subprocess.run(
            [*command, *more, tmp_path / name],
            cwd=ROOT, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    differences = []
    for (jpeg, png, _), (other_jpeg, other_png, _) in zip(
        *(rendered_frames(tmp_path / name) for name in ("plain", "dressed")), strict=True
    ):
        assert png == other_png
        first, second = (
            cv2.imdecode(np.frombuffer(each, np.uint8), cv2.IMREAD_COLOR).astype(float)
            for each in (jpeg, other_jpeg)
        )
        differences.append(np.abs(first - second).mean())
    assert max(differences) > 5.0


SDF = """<sdf version="1.6"><world name="w">
<model name="hall"><link name="link">
  <visual name="floor"><geometry><plane><size>6 6</size></plane></geometry></visual>
  <visual name="a"><pose>3 0 1.5 0 0 0</pose><geometry><box><size>0.1 6 3</size></box></geometry></visual>
  <visual name="b"><pose>-3 0 1.5 0 0 0</pose><geometry><box><size>0.1 6 3</size></box></geometry></visual>
  <visual name="c"><pose>0 3 1.5 0 0 0</pose><geometry><box><size>6 0.1 3</size></box></geometry></visual>
  <visual name="d"><pose>0 -3 1.5 0 0 0</pose><geometry><box><size>6 0.1 3</size></box></geometry></visual>
  <visual name="crate"><pose>1 1 0 0 0 0.5</pose><geometry><mesh><uri>crate.obj</uri>
    <scale>0.8 0.8 0.8</scale></mesh></geometry></visual>
</link></model></world></sdf>
"""  # noqa: E501
OBJ = """v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nv 0 0 1\nv 1 0 1\nv 1 1 1\nv 0 1 1
f 4 3 2 1\nf 5 6 7 8\nf 1 2 6 5\nf 2 3 7 6\nf 3 4 8 7\nf 4 1 5 8
"""


MODEL = """
import json, sys
import numpy as np
from depthrefl_ros.training.synth.imports import ModelStore
from depthrefl_ros.training.synth.materials import Materials
from depthrefl_ros.training.synth.models import Models
from depthrefl_ros.training.synth.stage import Stage, bpy

stage = Stage()
models = Models(sys.argv[1])
store = ModelStore(stage, models, Materials(np.random.default_rng(0)))
with stage.at(2.0, 3.0, 0.5):
    store.furnished(models.find("office", "wall")[0])
corners = stage.corners()
images = [node.image.filepath for material in bpy.data.materials
          for node in material.node_tree.nodes if node.type == "TEX_IMAGE"]
json.dump({"low": corners.min(0).tolist(), "high": corners.max(0).tolist(), "images": images,
           "front": corners[corners[:, 1] < 2.7].mean(0).tolist()}, sys.stdout)
"""


def test_a_model_stands_in_its_stated_size_with_its_back_to_the_wall(known_scene, tmp_path):
    """The file's wedge is off its origin and in no unit; in front (z) it is an edge, low down."""
    wedge = "v 4 0 0\nv 9 0 0\nv 9 3 0\nv 4 3 0\nv 4 0 2\nv 9 0 2\n" + (
        "f 1 4 3 2\nf 1 2 6 5\nf 3 4 5 6\nf 1 5 4\nf 2 3 6\n"
    )
    material = "newmtl wood\nKd 0.5 0.3 0.1\nmap_Kd lost.png\n"
    stated = (
        "name#1=Desk\ncategory#1=Office\nmodel#1=/desk/desk.obj\n"
        "width#1=140\ndepth#1=70\nheight#1=74\n"
    )
    with zipfile.ZipFile(tmp_path / "one.sh3f", "w") as archive:
        archive.writestr("PluginFurnitureCatalog.properties", stated)
        archive.writestr("desk/desk.obj", "mtllib desk.mtl\nusemtl wood\n" + wedge)
        archive.writestr("desk/desk.mtl", material)
    done = subprocess.run(
        [SYNTH_PYTHON, "-c", MODEL, tmp_path],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    np.testing.assert_allclose(found["low"], (2 - 0.7, 3 - 0.35, 0.5), atol=1e-5)
    np.testing.assert_allclose(found["high"], (2 + 0.7, 3 + 0.35, 1.24), atol=1e-5)
    assert found["front"][2] == pytest.approx(0.5, abs=1e-5)  # only the low edge is in front
    assert found["images"] == []  # a lost texture would be magenta


def test_a_gazebo_world_is_rendered_from_its_floor(known_scene, tmp_path):
    """No point is under the floor, behind a wall or over the ceiling that was added at 3 m."""
    world, out = tmp_path / "hall.world", tmp_path / "out"
    world.write_text(SDF)
    (tmp_path / "crate.obj").write_text(OBJ)
    command = [SYNTH_PYTHON, "-m", "depthrefl_ros.tools.render", "world", world, out,
               "--count", "3", "--width", "64", "--height", "48", "--samples", "1",
               "--views", "3"]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    folder = RenderedFolder(out)
    for name, (_, png, camera) in zip(folder.names(), rendered_frames(folder.root), strict=True):
        depth = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED) / 1000.0
        v, u = np.mgrid[0:48, 0:64]
        rays = np.stack([(u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy, u * 0 + 1], -1)
        heights = Pose.from_mount(**folder.mounts()[name]).apply(rays * depth[..., None])[..., 2]
        assert heights.min() > -0.01 and heights.max() < 3.04
        assert depth.min() > 0 and depth.max() < 8.5
    (tmp_path / "crate.obj").unlink()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and "crate.obj is missing" in done.stderr


def test_a_drive_has_the_mounts_that_its_floor_shows(known_scene, tmp_path):
    """With its mount the floor of each image back-projects to z = 0 of the base frame."""
    out = tmp_path / "drive"
    command = [SYNTH_PYTHON, "-m", "depthrefl_ros.tools.render", "drive", out, "--count", "2",
               "--width", "64", "--height", "48", "--samples", "1", "--seed", "9100"]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    folder = RenderedFolder(out)
    mounts = folder.mounts()
    assert list(mounts) == folder.names() == ["0000", "0001"]
    for name, (_, png, camera) in zip(folder.names(), rendered_frames(folder.root), strict=True):
        assert 0.3 <= mounts[name]["height_m"] <= 0.6
        depth = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED) / 1000.0
        v, u = np.mgrid[0:48, 0:64]
        rays = np.stack([(u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy, u * 0 + 1], -1)
        heights = Pose.from_mount(**mounts[name]).apply(rays * depth[..., None])[..., 2]
        assert np.mean(np.abs(heights) < 0.005) > 0.1  # the floor itself
        assert heights.min() > -0.01 and heights.max() < 3.3
    assert not np.array_equal(*(png for _, png, _ in rendered_frames(folder.root)))
    assert all(folder.glass(name).shape == (48, 64) for name in folder.names())


def test_a_drive_through_a_gazebo_world_stands_on_its_floor(known_scene, tmp_path):
    world, out = tmp_path / "hall.world", tmp_path / "out"
    world.write_text(SDF)
    (tmp_path / "crate.obj").write_text(OBJ)
    command = [SYNTH_PYTHON, "-m", "depthrefl_ros.tools.render", "drive", out, "--world", world,
               "--count", "3", "--width", "64", "--height", "48", "--samples", "1"]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    mounts = RenderedFolder(out).mounts()
    assert list(mounts) == ["0000", "0001", "0002"]
    assert all(0.3 <= mount["height_m"] <= 0.6 for mount in mounts.values())


def test_a_drive_through_a_chosen_kind_shows_its_panes(known_scene, tmp_path):
    command = [SYNTH_PYTHON, "-m", "depthrefl_ros.tools.render", "drive", "--count", "1",
               "--width", "64", "--height", "48", "--samples", "1", "--seed", "9743"]  # fmt: skip

    def run(out, kind):
        return subprocess.run(
            [*command, tmp_path / out, "--kind", kind],
            cwd=ROOT, capture_output=True, text=True, timeout=120,
        )  # fmt: skip

    refused = run("a", "tunnel")
    assert refused.returncode == 2 and "--kind is 'tunnel'; known are living" in refused.stderr
    done = run("b", "lobby")
    assert done.returncode == 0, done.stderr
    glass = RenderedFolder(tmp_path / "b").glass("0000")
    assert 0.1 < glass.mean() < 0.6
