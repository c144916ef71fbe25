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

"""Gazebo worlds on the stage: where meshes stand, which parts of them, and what cannot be shown."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from synth_python import run_in_blender, skip_without_blender

# Prints the bounding box of what the world's mesh became, or why there is none.
BOXES = """
import json, sys
from pathlib import Path
from depthrefl_ros.training.synth.stage import Stage
from depthrefl_ros.training.synth.views import NoPlaceError, choose_views
from depthrefl_ros.training.synth.world_stage import build_world
from depthrefl_ros.training.synth.worlds import WorldError, read_world

found = []
for path in sys.argv[1:]:
    stage = Stage()
    try:
        region, rng = build_world(stage, read_world(Path(path)), 1)
        box = stage.boxes()[1].tolist()
        choose_views(stage.cast, [region], rng, 1)
    except WorldError as error:
        box = str(error)
    except NoPlaceError as error:
        box = [box, str(error)]
    found.append(box)
print(json.dumps(found))
"""
WORLD = """<sdf version="1.9"><world name="w"><model name="m"><link name="l">
<visual name="floor"><pose>0 0 -1.05 0 0 0</pose><geometry><box><size>{room} {room} 0.1</size></box>
</geometry></visual>
<visual name="thing"><geometry><mesh><uri>{mesh}</uri>{submesh}</mesh></geometry></visual>
</link></model></world></sdf>"""
# A block of 1 x 2 x 3 in its own axes, from the origin on, two units along x; in half metres.
DAE = """<?xml version="1.0"?><COLLADA xmlns="http://www.collada.org/2005/11/COLLADASchema"
version="1.4.1"><asset><created>2026-01-01T00:00:00Z</created>
<modified>2026-01-01T00:00:00Z</modified><unit meter="0.5" name="half"/><up_axis>{up}</up_axis>
</asset><library_geometries><geometry id="g" name="block"><mesh><source id="p">
<float_array id="a" count="12">0 0 0 1 0 0 0 2 0 0 0 3</float_array><technique_common>
<accessor source="#a" count="4" stride="3"><param name="X" type="float"/>
<param name="Y" type="float"/><param name="Z" type="float"/></accessor></technique_common></source>
<vertices id="v"><input semantic="POSITION" source="#p"/></vertices><triangles count="4">
<input semantic="VERTEX" source="#v" offset="0"/><p>0 2 1 0 1 3 0 3 2 1 2 3</p></triangles></mesh>
</geometry></library_geometries><library_visual_scenes><visual_scene id="s">
<node id="n1" name="near"><translate>2 0 0</translate><instance_geometry url="#g"/></node>
<node id="n2" name="far"><translate>6 0 0</translate><instance_geometry url="#g"/></node>
</visual_scene></library_visual_scenes><scene><instance_visual_scene url="#s"/></scene></COLLADA>"""
OBJ = """o near\nv 2 0 0\nv 3 0 0\nv 2 2 0\nv 2 0 3\nf 1 3 2\nf 1 2 4\nf 1 4 3\nf 2 3 4
o far\nv 6 0 0\nv 7 0 0\nv 6 2 0\nv 6 0 3\nf 5 7 6\nf 5 6 8\nf 5 8 7\nf 6 7 8\n"""


@pytest.fixture(scope="module", autouse=True)
def has_blender():
    skip_without_blender()


def boxes(folder: Path, *worlds: tuple[str, str, str, float]) -> list:
    """Return for each world (mesh's file name, its text, <submesh>, room's edge) what was found."""
    paths = []
    for number, (name, text, submesh, room) in enumerate(worlds):
        place = folder / f"{number}"
        place.mkdir()
        (place / name).write_text(text)
        paths.append(place / "a.world")
        paths[-1].write_text(WORLD.format(mesh=name, submesh=submesh, room=room))
    done = run_in_blender(BOXES, *paths)
    return json.loads(done.stdout.splitlines()[-1])


def submesh(name: str, center: str = "") -> str:
    return f"<submesh><name>{name}</name>{center}</submesh>"


def test_collada_files_stand_upright_whichever_axis_is_up(tmp_path):
    """Along the axis that is up the block is 1, 2 or 3 units high, and x is 2 units off."""
    worlds = [("a.dae", DAE.format(up=up), "", 9) for up in ("X_UP", "Y_UP", "Z_UP")]
    found = boxes(tmp_path, *worlds)
    expected = [
        [(-1.0, -1.5, 1.0), (0.0, 0.0, 1.5)],  # x up, y to the left, z to the viewer
        [(1.0, -1.5, 0.0), (1.5, 0.0, 1.0)],
        [(1.0, 0.0, 0.0), (1.5, 1.0, 1.5)],
    ]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_only_the_submesh_is_shown_and_in_the_middle_where_that_is_asked_for(tmp_path):
    middle = "<center>true</center>"
    found = boxes(
        tmp_path,
        ("a.dae", DAE.format(up="Z_UP"), submesh("far"), 9),
        ("a.dae", DAE.format(up="Z_UP"), submesh("far", middle), 9),
        ("a.obj", OBJ, submesh("near"), 9),
        ("a.obj", OBJ, submesh("far", middle), 9),
    )
    expected = [
        [(3.0, 0.0, 0.0), (3.5, 1.0, 1.5)],
        [(-0.25, -0.5, -0.75), (0.25, 0.5, 0.75)],
        [(2.0, 0.0, 0.0), (3.0, 2.0, 3.0)],
        [(-0.5, -1.0, -1.5), (0.5, 1.0, 1.5)],
    ]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_what_cannot_be_shown_is_told_in_plain_words(tmp_path):
    lost, tight = boxes(
        tmp_path,
        ("a.obj", OBJ, submesh("lid"), 9),
        ("a.obj", "v 0 0 0\nv 0.01 0 0\nv 0 0.01 0\nf 1 2 3\n", "", 0.05),
    )
    assert lost.endswith("a.obj has no submesh 'lid'; it has far, near")
    assert "no place for a camera was found in 0.05" in tight[1]


def test_a_world_of_empty_meshes_is_refused(tmp_path):
    (tmp_path / "empty.obj").write_text("")
    world = WORLD.format(mesh="empty.obj", submesh="", room=9)
    start, end = world.index('<visual name="floor">'), world.index('<visual name="thing">')
    (tmp_path / "a.world").write_text(world[:start] + world[end:])
    done = run_in_blender(BOXES, tmp_path / "a.world")
    assert "none of its meshes has a face" in done.stdout, done.stderr
