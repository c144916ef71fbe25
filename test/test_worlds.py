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

"""Gazebo worlds: poses, includes and shapes are read, what is missing is named."""

from __future__ import annotations

import math

import numpy as np
import pytest

from depthrefl_ros.training.synth.worlds import WorldError, find_world, read_world

WORLD = """<?xml version="1.0"?>
<sdf version="1.6"><world name="test">
  <light name="sun" type="directional"/>
  <model name="floor"><static>1</static><link name="link"><visual name="v">
    <geometry><plane><normal>0 0 1</normal><size>8 6</size></plane></geometry>
  </visual></link></model>
  <model name="row"><pose>1 2 0 0 0 1.5707963267948966</pose>
    <include><uri>model://crate</uri><pose>1 0 0 0 0 0</pose></include>
    <link name="link"><pose>0 0 0.5 0 0 0</pose><visual name="pole">
      <pose>0 1 0 0 0 0</pose>
      <geometry><cylinder><radius>0.1</radius><length>1.0</length></cylinder></geometry>
      <material><diffuse>0.8 0.1 0.1 1</diffuse></material>
    </visual><collision name="c"><geometry><box><size>9 9 9</size></box></geometry></collision>
    </link>
  </model>
</world></sdf>
"""
CRATE = """<?xml version="1.0"?>
<sdf version="1.6"><model name="crate"><pose>0 0 9 0 0 0</pose><link name="link">
  <visual name="mesh"><pose>0 0 0.25 0 0 0</pose><geometry><mesh>
    <uri>model://crate/meshes/crate.obj</uri><scale>0.5 0.5 0.5</scale></mesh></geometry></visual>
</link></model></sdf>
"""


@pytest.fixture
def world(tmp_path):
    (tmp_path / "worlds").mkdir()
    (tmp_path / "models" / "crate" / "meshes").mkdir(parents=True)
    path = tmp_path / "worlds" / "test.world"
    path.write_text(WORLD)
    (tmp_path / "models" / "crate" / "model.sdf").write_text(CRATE)
    (tmp_path / "models" / "crate" / "meshes" / "crate.obj").write_text("v 0 0 0\n")
    return path


def test_poses_of_includes_links_and_visuals_are_chained(world):
    floor, crate, pole = read_world(world)
    assert (floor.kind, floor.size) == ("plane", (8.0, 6.0, 0.0))
    assert crate.kind == "mesh" and crate.size == (0.5, 0.5, 0.5) and crate.mesh.is_file()
    # The row is turned a quarter to the left: its x is the world's y. The include's pose takes the
    # place of the model's own.
    np.testing.assert_allclose(crate.pose[:3, 3], (1, 3, 0.25), atol=1e-12)
    np.testing.assert_allclose(crate.pose[:3, 0], (0, 1, 0), atol=1e-12)
    np.testing.assert_allclose(pole.pose[:3, 3], (0, 2, 0.5), atol=1e-12)
    assert pole.colour == (0.8, 0.1, 0.1) and pole.size == (0.1, 0.1, 1.0)


def test_angles_are_roll_then_pitch_then_yaw(world):
    """Fixed axes: x first. Roll alone takes y to z; then pitch by a quarter takes z to x."""
    quarter = math.pi / 2
    text = WORLD.replace("1 2 0 0 0 1.5707963267948966", f"0 0 0 {quarter} {quarter} 0")
    world.write_text(text)
    pole = read_world(world)[2]
    np.testing.assert_allclose(pole.pose[:3, 1], (1, 0, 0), atol=1e-12)


def test_the_world_of_a_folder_is_found_or_the_choice_is_named(world, tmp_path):
    assert find_world(tmp_path) == world and find_world(world) == world
    (tmp_path / "worlds" / "second.world").write_text(WORLD)
    with pytest.raises(WorldError, match="2 worlds: name one of worlds/second.world, worlds/test"):
        find_world(tmp_path)
    with pytest.raises(WorldError, match="has no"):
        find_world(tmp_path / "models")


@pytest.mark.parametrize(
    "change, message",
    [
        (("model://crate<", "model://barrel<"), "model://barrel was not found"),
        (("<radius>0.1</radius>", ""), "<cylinder> lacks <radius>"),
        (("1 2 0 0 0 1.5707963267948966", "1 2 0"), "'1 2 0' must be 6 numbers"),
        (("1 2 0 0 0 1.5707963267948966", "nan 2 0 0 0 0"), "'nan 2 0 0 0 0' must be 6 numbers"),
        (("<radius>0.1", "<radius>abc"), "'abc' must be a number"),
        (("<normal>0 0 1", "<normal>0 0 0"), "<normal> of length 0"),
        (("<pose>1 2", "<pose rotation_format='quat_xyzw'>1 2"), "must be 7 numbers"),
        (("<pose>1 2", "<pose rotation_format='matrix'>1 2"), "rotation_format is euler_rpy, or"),
        (("<cylinder>", "<heightmap>"), "cannot be read"),
        (('<world name="test">', '<model name="m">'), "cannot be read"),
    ],
)
def test_what_is_wrong_in_a_world_is_named(world, change, message):
    world.write_text(WORLD.replace(*change))
    with pytest.raises(WorldError, match=message):
        read_world(world)


def test_the_files_that_a_world_is_read_from_are_told(world, tmp_path):
    files = set()
    read_world(world, None, files)
    crate = tmp_path / "models" / "crate"
    assert files == {world, crate / "model.sdf", crate / "meshes" / "crate.obj"}


def test_a_missing_mesh_is_named(world, tmp_path):
    (tmp_path / "models" / "crate" / "meshes" / "crate.obj").unlink()
    with pytest.raises(WorldError, match="crate.obj is missing"):
        read_world(world)


@pytest.mark.parametrize(
    "attributes, rotation",
    [
        ("degrees='true'", "0 0 90"),
        ("degrees='1'", "0 0 90"),
        ("rotation_format='euler_rpy'", "0 0 1.5707963267948966"),
        ("rotation_format='quat_xyzw'", "0 0 0.70710678 0.70710678"),
        ("rotation_format='quat_xyzw'", "0 0 2 2"),
    ],
)
def test_rotations_in_degrees_and_as_quaternions_are_read(world, attributes, rotation):
    read = [pose_of_pole(world, WORLD)]
    turned = f"<pose {attributes}>1 2 0 {rotation}</pose>"
    read.append(
        pose_of_pole(world, WORLD.replace("<pose>1 2 0 0 0 1.5707963267948966</pose>", turned))
    )
    np.testing.assert_allclose(*read, atol=1e-7)


def pose_of_pole(path, text):
    path.write_text(text)
    return read_world(path)[2].pose


def test_a_quaternion_about_all_axes_is_the_rotation_of_its_angles(world):
    """Roll and yaw of a quarter: x, y, z go to y, z, x, a third of a turn about their middle."""
    quarter = math.pi / 2
    angles = pose_of_pole(
        world, WORLD.replace("0 0 1.5707963267948966", f"{quarter} 0.0 {quarter}")
    )
    text = WORLD.replace("<pose>1 2", "<pose rotation_format='quat_xyzw'>1 2")
    read = pose_of_pole(world, text.replace("0 0 1.5707963267948966", "0.5 0.5 0.5 0.5"))
    np.testing.assert_allclose(read, angles, atol=1e-12)


@pytest.mark.parametrize("normal", [(1, 0, 0), (0, -2, 0), (0, 0, -1), (0.3, -0.4, 0.5), (0, 0, 3)])
def test_a_plane_faces_where_its_normal_says(world, normal):
    text = "<normal>" + " ".join(map(str, normal))
    world.write_text(WORLD.replace("<normal>0 0 1", text))
    pose = read_world(world)[0].pose
    np.testing.assert_allclose(pose[:3, 2], np.array(normal) / np.linalg.norm(normal), atol=1e-12)
    np.testing.assert_allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3), atol=1e-12)
    assert np.linalg.det(pose) == pytest.approx(1.0)


def test_a_plane_is_turned_the_shortest_way(world):
    """Towards x it turns about y, which stays where it was."""
    world.write_text(WORLD.replace("<normal>0 0 1", "<normal>1 0 0"))
    np.testing.assert_allclose(read_world(world)[0].pose[:3, 1], (0, 1, 0), atol=1e-12)


def test_a_submesh_is_named(world, tmp_path):
    model = tmp_path / "models" / "crate" / "model.sdf"
    part = "<submesh><name>lid</name><center>{}</center></submesh></mesh>"
    for text, is_centred in (("true", True), ("1", True), ("false", False), ("", False)):
        model.write_text(CRATE.replace("</mesh>", part.format(text)))
        crate = read_world(world)[1]
        assert (crate.submesh, crate.is_centred) == ("lid", is_centred)
    model.write_text(CRATE)
    assert read_world(world)[1].submesh is None


def test_an_included_light_is_left_out(world, tmp_path):
    (tmp_path / "models" / "crate" / "model.sdf").write_text(
        '<sdf version="1.6"><light name="sun" type="directional"/></sdf>'
    )
    assert [visual.kind for visual in read_world(world)] == ["plane", "cylinder"]


def test_of_two_models_of_one_name_the_first_path_counts(world, tmp_path):
    (tmp_path / "other" / "crate").mkdir(parents=True)
    (tmp_path / "other" / "crate" / "model.sdf").write_text("<sdf/>")
    assert read_world(world)[1].mesh == tmp_path / "models" / "crate" / "meshes" / "crate.obj"
