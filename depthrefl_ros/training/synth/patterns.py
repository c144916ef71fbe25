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

"""Patterns: procedural surfaces, of colours and sizes that are given, drawn from one generator.

They are laid out in object coordinates, which are metres here, so that a plank is as wide on a
cupboard as on a floor. Colours are linear RGB in 0..1.
"""

from __future__ import annotations

import colorsys
import math

import numpy as np

from .nodes import add_node, add_ramp, new_material, object_coordinates
from .stage import bpy

Colour = tuple[float, float, float]


class Patterns:
    """Makes surfaces of one pattern each. The same generator state gives the same surfaces.

    Args:
        rng: draws colours and where a pattern begins.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def colour(
        self,
        hue: tuple[float, float] = (0.0, 1.0),
        saturation: tuple[float, float] = (0.1, 0.8),
        value: tuple[float, float] = (0.1, 0.8),
    ) -> Colour:
        """Return a random linear colour within the given HSV ranges."""
        hsv = [self.rng.uniform(*limits) for limits in (hue, saturation, value)]
        return tuple(channel**2.2 for channel in colorsys.hsv_to_rgb(hsv[0] % 1.0, *hsv[1:]))

    def plain(self, colour: Colour, roughness: float, metallic: float = 0.0) -> bpy.types.Material:
        """Return a surface of one colour."""
        material, surface = new_material("plain")
        surface.inputs["Base Color"].default_value = (*colour, 1)
        surface.inputs["Roughness"].default_value = roughness
        surface.inputs["Metallic"].default_value = metallic
        return material

    def mottled(
        self, colours: list[Colour], per_metre: float, roughness: float, bump: float = 0.0
    ) -> bpy.types.Material:
        """Return noise over a colour ramp, about `per_metre` blotches a metre."""
        material, surface = new_material("mottled")
        tree = material.node_tree
        noise = add_node(
            tree,
            "ShaderNodeTexNoise",
            Vector=self._coordinates(material, (1, 1, 1)),
            Scale=per_metre,
            Detail=5.0,
        )
        return self._finish(material, surface, noise.outputs[0], colours, roughness, bump)

    def wood(self) -> bpy.types.Material:
        """Return wood with grain along one axis of the object."""
        base = self.colour((0.05, 0.11), (0.3, 0.75), (0.2, 0.8))
        material, surface = new_material("wood")
        stretch = [1.0, 1.0, 1.0]
        stretch[self.rng.integers(3)] = 0.08
        noise = add_node(
            material.node_tree,
            "ShaderNodeTexNoise",
            Vector=self._coordinates(material, stretch),
            Scale=self.rng.uniform(12, 40),
            Detail=4.0,
            Distortion=self.rng.uniform(0.2, 1.5),
        )
        colours = [base, shade(base, self.rng.uniform(0.5, 0.8))]
        return self._finish(
            material, surface, noise.outputs[0], colours, self.rng.uniform(0.25, 0.7), 0.0
        )

    def planks(self) -> bpy.types.Material:
        """Return floor boards in random tones of one wood."""
        base = self.colour((0.05, 0.11), (0.25, 0.7), (0.3, 0.85))
        return self.tiles(
            [base, shade(base, self.rng.uniform(0.6, 0.85))],
            self.rng.uniform(0.8, 2.0),
            self.rng.uniform(0.07, 0.2),
            0.003,
            self.rng.uniform(0.15, 0.6),
            grain=0.35,
        )

    def tiles(
        self,
        colours: list[Colour],
        width: float,
        height: float,
        joint: float,
        roughness: float,
        offset: float = 0.5,
        upright: bool = False,
        grain: float = 0.15,
    ) -> bpy.types.Material:
        """Return tiles or bricks of width x height metres with joints, in the local xy plane.

        `upright` lays them in the local xz plane, as on a wall that runs along x.
        """
        material, surface = new_material("tiles")
        tree = material.node_tree
        turn = (math.pi / 2, 0, 0) if upright else (0, 0, self.rng.choice([0, math.pi / 2]))
        place = self._coordinates(material, (1, 1, 1), turn)
        brick = add_node(tree, "ShaderNodeTexBrick", Vector=place, Scale=1.0)
        brick.offset = offset
        named = {"Mortar Size": joint, "Brick Width": width, "Row Height": height, "Bias": 0.0}
        for name, value in named.items():
            brick.inputs[name].default_value = value
        joint_colour = shade(colours[0], self.rng.uniform(0.3, 0.9))
        names = ("Color1", "Color2", "Mortar")
        for name, colour in zip(names, [*colours[:2], joint_colour], strict=True):
            brick.inputs[name].default_value = (*colour, 1)
        streaks = self._coordinates(material, (0.6, 8, 8))
        noise = add_node(tree, "ShaderNodeTexNoise", Vector=streaks, Scale=3.0, Detail=6.0)
        mix = tree.nodes.new("ShaderNodeMixRGB")
        mix.blend_type = "MULTIPLY"
        mix.inputs[0].default_value = grain
        tree.links.new(brick.outputs["Color"], mix.inputs[1])
        tree.links.new(noise.outputs[0], mix.inputs[2])
        tree.links.new(mix.outputs[0], surface.inputs["Base Color"])
        surface.inputs["Roughness"].default_value = roughness
        return material

    def checker(
        self, first: Colour, second: Colour, edge: float, roughness: float
    ) -> bpy.types.Material:
        """Return a chequerboard with squares of `edge` metres."""
        material, surface = new_material("checker")
        tree = material.node_tree
        check = add_node(
            tree,
            "ShaderNodeTexChecker",
            Vector=self._coordinates(material, (1, 1, 1)),
            Scale=1.0 / edge,
        )
        check.inputs["Color1"].default_value = (*first, 1)
        check.inputs["Color2"].default_value = (*second, 1)
        tree.links.new(check.outputs["Color"], surface.inputs["Base Color"])
        surface.inputs["Roughness"].default_value = roughness
        return material

    def stripes(
        self, first: Colour, second: Colour, width: float, roughness: float
    ) -> bpy.types.Material:
        """Return stripes about `width` metres wide, across the local x axis."""
        material, surface = new_material("stripes")
        wave = add_node(
            material.node_tree,
            "ShaderNodeTexWave",
            Vector=self._coordinates(material, (1, 1, 1)),
            Scale=math.pi / 20 / width,
        )
        return self._finish(material, surface, wave.outputs[1], [first, second], roughness, 0.0)

    def cells(
        self, colours: list[Colour], per_metre: float, roughness: float
    ) -> bpy.types.Material:
        """Return Voronoi cells, each in one colour of the ramp."""
        material, surface = new_material("cells")
        cells = add_node(
            material.node_tree,
            "ShaderNodeTexVoronoi",
            Vector=self._coordinates(material, (1, 1, 1)),
            Scale=per_metre,
        )
        return self._finish(material, surface, cells.outputs["Color"], colours, roughness, 0.0)

    def _finish(self, material, surface, value, colours, roughness, bump):
        """Join a pattern's value over a colour ramp to the surface, with relief if asked for."""
        tree = material.node_tree
        ramp = add_ramp(tree, colours)
        tree.links.new(value, ramp.inputs[0])
        tree.links.new(ramp.outputs["Color"], surface.inputs["Base Color"])
        surface.inputs["Roughness"].default_value = roughness
        if bump > 0:
            relief = add_node(tree, "ShaderNodeBump", Height=value, Strength=bump, Distance=0.01)
            tree.links.new(relief.outputs["Normal"], surface.inputs["Normal"])
        return material

    def _coordinates(self, material, scale, turn=(0.0, 0.0, 0.0)):
        """Return object coordinates (m), shifted at random so that no two objects' grain match."""
        tree = material.node_tree
        mapping = add_node(tree, "ShaderNodeMapping", Vector=object_coordinates(tree))
        mapping.inputs["Location"].default_value = self.rng.uniform(-50, 50, 3)
        mapping.inputs["Rotation"].default_value = turn
        mapping.inputs["Scale"].default_value = scale
        return mapping.outputs[0]


def shade(colour: Colour, factor: float) -> Colour:
    """Return the colour scaled by `factor` (0 black, 1 unchanged)."""
    return tuple(channel * factor for channel in colour)
