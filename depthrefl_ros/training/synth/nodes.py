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

"""Blender's shader nodes: made, joined, and fed with pictures."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np

from .looks import LooksError
from .stage import bpy


def new_material(name: str):
    """Make a material; returns it and its surface."""
    material = bpy.data.materials.new(name)
    return material, material.node_tree.nodes["Principled BSDF"]


def object_coordinates(tree):
    """Add a thing's own coordinates, metres; returns their socket."""
    return tree.nodes.new("ShaderNodeTexCoord").outputs["Object"]


def add_node(tree, kind: str, *by_index, **inputs):
    """Add a node and return it; inputs by name, or by (index, value) pairs, are linked or set."""
    node = tree.nodes.new(kind)
    pairs = [*zip(by_index[::2], by_index[1::2], strict=True), *inputs.items()]
    for key, value in pairs:
        if isinstance(value, bpy.types.NodeSocket):
            tree.links.new(value, node.inputs[key])
        else:
            node.inputs[key].default_value = value
    return node


def add_ramp(tree, colours: list[tuple[float, float, float]]):
    """Add a colour ramp and return it; noise gathers around a half: stops span 0.3 to 0.7."""
    ramp = tree.nodes.new("ShaderNodeValToRGB")
    elements = ramp.color_ramp.elements
    while len(elements) < len(colours):
        elements.new(0.5)
    for index, (stop, colour) in enumerate(
        zip(np.linspace(0.3, 0.7, len(colours)), colours, strict=True)
    ):
        elements[index].position = float(stop)
        elements[index].color = (*colour, 1)
    return ramp


def panorama_colour(tree, panorama: Path, turn: float) -> tuple[bpy.types.NodeSocket, float]:
    """Look a panorama up along the ray that arrives, so that it is infinitely far away.

    Args:
        tree: the nodes of a surface or a world.
        panorama: equirectangular picture.
        turn: about the vertical, radians.

    Returns:
        Its radiance, and the mean of it.
    """
    incoming = tree.nodes.new("ShaderNodeNewGeometry").outputs["Incoming"]
    away = tree.nodes.new("ShaderNodeVectorMath")
    away.operation = "MULTIPLY"
    tree.links.new(incoming, away.inputs[0])
    away.inputs[1].default_value = (-1.0, -1.0, -1.0)
    turned = add_node(tree, "ShaderNodeMapping", Vector=away.outputs[0])
    turned.inputs["Rotation"].default_value = (0.0, 0.0, turn)
    look_up = add_node(tree, "ShaderNodeTexEnvironment", Vector=turned.outputs[0])
    look_up.image = bpy.data.images.load(str(panorama), check_existing=True)
    return look_up.outputs["Color"], _mean_radiance(panorama)


@lru_cache
def _mean_radiance(panorama: Path) -> float:
    """Return the mean of a panorama that is loaded; every window of a space asks for it.

    Raises:
        LooksError: it is no picture.
    """
    image = bpy.data.images.load(str(panorama), check_existing=True)
    if not image.size[0]:
        raise LooksError(f"{panorama}: no panorama that Blender can read")
    values = np.empty(image.size[0] * image.size[1] * image.channels, np.float32)
    image.pixels.foreach_get(values)
    return max(float(values.reshape(-1, image.channels)[:, :3].mean()), 1e-3)


def print_on(
    material: bpy.types.Material,
    photograph: Path,
    tiling: tuple[float, np.ndarray] | None = None,
) -> None:
    """Print a photograph on a material instead of its colour.

    Args:
        material: with the usual surface.
        photograph: picture file.
        tiling: the photograph's size in metres and its place (3,), where it goes on in mirrored
            copies; without, it fills the thing's bounding box once on every side.
    """
    tree = material.node_tree
    places = tree.nodes.new("ShaderNodeTexCoord")
    vector = places.outputs["Generated"]
    if tiling is not None:
        size_m, shift = tiling
        mapping = add_node(tree, "ShaderNodeMapping", Vector=places.outputs["Object"])
        mapping.inputs["Location"].default_value = shift
        mapping.inputs["Scale"].default_value = (1 / size_m,) * 3
        vector = mapping.outputs[0]
    printed = add_node(tree, "ShaderNodeTexImage", Vector=vector)
    printed.image = bpy.data.images.load(str(photograph), check_existing=True)
    printed.projection, printed.extension = "BOX", "MIRROR"
    surface = tree.nodes["Principled BSDF"]
    tree.links.new(printed.outputs["Color"], surface.inputs["Base Color"])
