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

"""The stage's surfaces: what a material hides completely has no depth."""

from __future__ import annotations

import json

import pytest
from synth_python import run_in_blender, skip_without_blender

# Prints the ways along x to a box at 2 m, before a wall at 4 m, by the alpha of the box's front.
WAYS = """
import json
import numpy as np
from depthrefl_ros.training.synth.materials import Materials
from depthrefl_ros.training.synth.stage import Stage, bpy

ways = []
for alpha in (1.0, 0.5, 0.0):
    stage = Stage()
    materials = Materials(np.random.default_rng(0))
    paint, cover = materials.plain((0.6, 0.6, 0.6), 0.9), materials.plain((0.9, 0.1, 0.1), 0.9)
    stage.block((4, -2, -2), (4.1, 2, 2), paint)
    stage.block((2, -1, -1), (2.5, 1, 1), paint)
    box = stage.scene.objects[-1].data
    box.materials.append(cover)
    for face in box.polygons:
        face.material_index = int(face.normal.x < -0.5)
    cover.node_tree.nodes["Principled BSDF"].inputs["Alpha"].default_value = alpha
    ways.append(stage.distance((0, 0, 0), (1, 0, 0)))
print(json.dumps(ways))
"""


def test_a_wholly_transparent_face_has_no_depth():
    """Through the front of the box its back is seen, from inside."""
    skip_without_blender()
    found = json.loads(run_in_blender(WAYS).stdout.splitlines()[-1])
    assert found == pytest.approx([2.0, 2.0, 2.5], abs=1e-5)
