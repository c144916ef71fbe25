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

"""Brings furniture models into the stage, in their stated sizes, and sets them on furniture."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from .materials import Materials
from .models import Model, Models
from .renderer import silence
from .stage import Matrix, Stage, Vector, bpy

FILE_TO_STAGE = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])  # y up, z to the viewer -> z up
MODEL_CHANCE = 0.6  # that a piece is a model where both are to be had
SMALL_USES = ("kitchen", "kitchen", "living", "office", "bedroom", "bathroom")
REPAINT_CHANCE = 0.35  # that an untextured part of a model gets another colour


class ModelStore:
    """The models of one stage; each is read from disk once.

    Args:
        stage: to be filled.
        models: catalogues.
        materials: gives other colours and the random generator.
    """

    def __init__(self, stage: Stage, models: Models, materials: Materials) -> None:
        self.stage, self.models, self.materials = stage, models, materials
        self._parts: dict[str, list] = {}

    def choose(self, use: str, place: str) -> Model | None:
        """Return a random model for a kind of room, or None where there is none."""
        found = self.models.find(use, place)
        return found[self.materials.rng.integers(len(found))] if found else None

    def build(self, model: Model) -> None:
        """Put a model at the stage's local origin, standing on z = 0, its back towards +y."""
        if model.path not in self._parts:
            self._parts[model.path] = read_model(self.models.unpack(model), model, self.materials)
        self.stage.instance(self._parts[model.path])

    def furnished(self, model: Model) -> None:
        """Build a model with small things on its top."""
        self.build(model)
        width, depth, _ = model.size
        if model.top_m and width > 0.5 and depth > 0.3:
            rng = self.materials.rng
            for _ in range(rng.integers(0, 6)):
                x, y = rng.uniform(-0.35, 0.35) * width, rng.uniform(-0.3, 0.3) * depth
                with self.stage.at(x, y, model.top_m, rng.uniform(0, 2 * math.pi)):
                    self.small()

    def small(self) -> bool:
        """Set a small model on the stage's local origin; False where there is none."""
        use = SMALL_USES[self.materials.rng.integers(len(SMALL_USES))]
        model = self.choose(use, "small")
        if model is not None:
            self.build(model)
        return model is not None


def read_model(path: Path, model: Model, materials: Materials) -> list[tuple]:
    """Read a Wavefront file and return its meshes with their places in metres.

    The model's bounding box gets its stated size; its middle comes over the origin.
    """
    # In a scene of its own: importing updates every object of the scene that it goes to.
    nursery = bpy.data.scenes.new("nursery")
    with (
        silence(),
        bpy.context.temp_override(
            scene=nursery, view_layer=nursery.view_layers[0], collection=nursery.collection
        ),
    ):
        bpy.ops.wm.obj_import(filepath=str(path), forward_axis="NEGATIVE_Z", up_axis="Y")
    things = list(nursery.objects)
    turn = Matrix((FILE_TO_STAGE @ model.rotation @ FILE_TO_STAGE.T).tolist()).to_4x4()
    placed, corners = [], []
    for thing in things:
        if thing.type == "MESH" and len(thing.data.vertices):
            place = turn @ thing.matrix_world
            local = np.empty(len(thing.data.vertices) * 3, np.float32)
            thing.data.vertices.foreach_get("co", local)
            matrix = np.array(place)
            corners.append(local.reshape(-1, 3) @ matrix[:3, :3].T + matrix[:3, 3])
            placed.append((thing.data, place))
        bpy.data.objects.remove(thing)
    bpy.data.scenes.remove(nursery)
    if not placed:
        return []
    for mesh, _ in placed:
        for surface in mesh.materials:
            repair(surface, materials)
    points = np.concatenate(corners)
    low, high = points.min(axis=0), points.max(axis=0)
    scale = np.array(model.size) / np.maximum(high - low, 1e-6)
    scale = np.where(high - low < 1e-5, 1.0, scale)
    base = [-(low[0] + high[0]) / 2, -(low[1] + high[1]) / 2, -low[2]]
    fit = Matrix.Diagonal((*scale.tolist(), 1.0)) @ Matrix.Translation(Vector(base))
    return [(mesh, fit @ place) for mesh, place in placed]


def repair(surface, materials: Materials) -> None:
    """Remove textures whose file is missing, which would show magenta, and repaint some parts."""
    if surface is None or surface.get("repaired"):
        return
    surface["repaired"] = True
    tree = surface.node_tree
    textured = False
    for node in list(tree.nodes):
        if node.type == "TEX_IMAGE":
            file = node.image and bpy.path.abspath(node.image.filepath)
            if file and Path(file).is_file():
                textured = True
            else:
                tree.nodes.remove(node)
    shader = tree.nodes.get("Principled BSDF")
    if shader is not None and not textured:
        if materials.rng.random() < REPAINT_CHANCE and shader.inputs["Alpha"].default_value > 0.9:
            shader.inputs["Base Color"].default_value = (*materials.colour(), 1)
        rough = shader.inputs["Roughness"]
        rough.default_value = float(np.clip(rough.default_value, 0.15, 0.9))
