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

"""Materials of indoor scenes by use, all drawn from one random generator."""

from __future__ import annotations

import functools
import math
from pathlib import Path

import numpy as np

from .looks import PLAIN, Looks, is_readable
from .nodes import add_node, add_ramp, new_material, object_coordinates, panorama_colour, print_on
from .patterns import Colour, Patterns, shade
from .stage import bpy

PRINT_CHANCE = 0.75  # that a picture, cover or poster is a photograph where there are any
SURFACE_CHANCE = 0.2  # that a floor, wall, cloth or piece of furniture is covered with one


def _sometimes_printed(make):
    """Cover what a method of `Materials` makes with a photograph, by `SURFACE_CHANCE`."""

    @functools.wraps(make)
    def made(self):
        return self._printed(make(self), SURFACE_CHANCE)

    return made


class Materials(Patterns):
    """Makes random materials. The same generator state gives the same materials.

    Args:
        rng: draws everything but the looks.
        looks: photographs and panoramas. A generator of its own picks among them, so that a space
            has the same shape with and without them.
    """

    def __init__(self, rng: np.random.Generator, looks: Looks = PLAIN) -> None:
        super().__init__(rng)
        self.looks = looks
        self._look_rng = rng.spawn(1)[0]
        self._turn = self._look_rng.uniform(0, 2 * math.pi)  # one sky for all windows
        self._panorama = self._one_of(looks.panoramas)

    # What things are made of, by use -------------------------------------------------------

    @_sometimes_printed
    def wall(self) -> bpy.types.Material:
        """Return wall paint (mostly pale, sometimes strong), wallpaper or bare brick."""
        kind = self.rng.random()
        if kind < 0.55:
            base = self.colour(saturation=(0.0, 0.22), value=(0.72, 0.96))
            return self.mottled([base, shade(base, 0.93)], 1.5, 0.8, bump=0.03)
        if kind < 0.78:
            base = self.colour(saturation=(0.2, 0.6), value=(0.45, 0.9))
            return self.mottled([base, shade(base, 0.9)], 2.0, 0.75, bump=0.04)
        if kind < 0.9:
            base = self.colour(saturation=(0.1, 0.5), value=(0.5, 0.9))
            return self.stripes(base, shade(base, self.rng.uniform(0.6, 0.9)), 0.08, 0.8)
        base = self.colour((0.0, 0.09), (0.2, 0.6), (0.4, 0.75))
        return self.tiles([base, shade(base, 0.75)], 0.24, 0.08, 0.012, 0.9, upright=True)

    def ceiling(self) -> bpy.types.Material:
        """Return near-white paint or square panels."""
        base = self.colour(saturation=(0.0, 0.08), value=(0.85, 0.97))
        if self.rng.random() < 0.3:
            return self.tiles([base, shade(base, 0.95)], 0.6, 0.6, 0.012, 0.9, offset=0.0)
        return self.mottled([base, shade(base, 0.95)], 2.0, 0.9)

    @_sometimes_printed
    def floor(self) -> bpy.types.Material:
        """Return planks, tiles, a chequerboard, carpet, linoleum or concrete."""
        kind = self.rng.random()
        if kind < 0.35:
            return self.planks()
        if kind < 0.55:
            base = self.colour((0.0, 0.15), (0.0, 0.35), (0.35, 0.9))
            edge, gloss = self.rng.uniform(0.2, 0.6), self.rng.uniform(0.15, 0.6)
            return self.tiles([base, shade(base, 0.88)], edge, edge, 0.006, gloss, offset=0.0)
        if kind < 0.62:
            base = self.colour(saturation=(0.0, 0.4), value=(0.6, 0.9))
            return self.checker(base, shade(base, 0.3), self.rng.uniform(0.2, 0.5), 0.4)
        if kind < 0.85:
            base = self.colour(saturation=(0.05, 0.5), value=(0.2, 0.75))
            return self.mottled([base, shade(base, 0.6)], self.rng.uniform(40, 120), 1.0, 0.3)
        base = self.colour((0.0, 0.6), (0.0, 0.15), (0.35, 0.75))
        return self.mottled([base, shade(base, 0.7)], self.rng.uniform(1, 6), 0.5, bump=0.02)

    @_sometimes_printed
    def fabric(self) -> bpy.types.Material:
        """Return cloth: plain weave, stripes, check or a printed pattern."""
        base = self.colour(saturation=(0.05, 0.6), value=(0.15, 0.9))
        other = self.colour(saturation=(0.05, 0.6), value=(0.2, 0.9))
        kind = self.rng.random()
        if kind < 0.55:
            return self.mottled([base, shade(base, 0.7)], self.rng.uniform(30, 90), 0.95, 0.25)
        if kind < 0.7:
            return self.stripes(base, other, self.rng.uniform(0.02, 0.12), 0.9)
        if kind < 0.82:
            return self.checker(base, other, self.rng.uniform(0.03, 0.12), 0.9)
        return self.cells([base, other, shade(base, 0.5)], self.rng.uniform(5, 20), 0.9)

    @_sometimes_printed
    def furniture(self) -> bpy.types.Material:
        """Return wood, lacquer or a laminate for cupboards, tables and shelves."""
        kind = self.rng.random()
        if kind < 0.6:
            return self.wood()
        if kind < 0.8:
            return self.plain(self.colour(saturation=(0.0, 0.1), value=(0.75, 0.95)), 0.4)
        return self.plain(self.colour(saturation=(0.05, 0.55), value=(0.1, 0.8)), 0.4)

    def thing(self) -> bpy.types.Material:
        """Return any surface a small object may have: plastic, card, cloth, print."""
        kind = self.rng.random()
        if kind < 0.5:
            return self.plain(self.colour(saturation=(0.0, 0.9)), self.rng.uniform(0.15, 0.8))
        if kind < 0.65:
            base = self.colour((0.06, 0.1), (0.3, 0.5), (0.5, 0.75))
            return self.mottled([base, shade(base, 0.85)], 8, 0.85)  # cardboard
        return self.fabric() if kind < 0.8 else self.picture()

    def picture(self) -> bpy.types.Material:
        """Return a colourful print for pictures, covers and posters."""
        colours = [self.colour(saturation=(0.0, 0.9), value=(0.05, 0.95)) for _ in range(5)]
        if self.rng.random() < 0.5:
            made = self.cells(colours, self.rng.uniform(2, 12), 0.4)
        else:
            made = self.mottled(colours, self.rng.uniform(1.5, 8), 0.4)
        return self._printed(made, PRINT_CHANCE, whole=True)

    def metal(self) -> bpy.types.Material:
        """Return brushed or painted metal."""
        base = self.colour(saturation=(0.0, 0.15), value=(0.4, 0.85))
        return self.plain(base, self.rng.uniform(0.2, 0.5), metallic=float(self.rng.random() < 0.7))

    @_sometimes_printed
    def slab(self) -> bpy.types.Material:
        """Return stone, concrete, laminate or wood for work tops, columns and steps."""
        kind = self.rng.random()
        if kind < 0.3:
            return self.wood()
        base = self.colour((0.0, 0.6), (0.0, 0.2), (0.1, 0.9))
        if kind < 0.7:
            return self.mottled([base, shade(base, 0.6)], self.rng.uniform(4, 60), 0.3)
        return self.plain(base, self.rng.uniform(0.15, 0.6))

    def splash(self) -> bpy.types.Material:
        """Return wall tiles, square, flat or upright."""
        base = self.colour((0.0, 1.0), (0.0, 0.4), (0.45, 0.95))
        wide, tall = [(0.1, 0.1), (0.15, 0.15), (0.2, 0.07), (0.3, 0.6), (0.05, 0.05)][
            self.rng.integers(5)
        ]
        return self.tiles([base, shade(base, 0.92)], wide, tall, 0.004, 0.15, 0.0, upright=True)

    def mirror(self) -> bpy.types.Material:
        """Return a mirror or polished chrome."""
        return self.plain((0.9, 0.9, 0.9), 0.02, metallic=1.0)

    def glass(self) -> bpy.types.Material:
        """Return a pane that lets most light straight through and mirrors a little of it."""
        material, surface = new_material("glass")
        tree = material.node_tree
        clear, shine = (
            tree.nodes.new("ShaderNodeBsdfTransparent"),
            tree.nodes.new("ShaderNodeBsdfGlossy"),
        )
        clear.inputs["Color"].default_value = (*self.colour((0.3, 0.6), (0, 0.1), (0.9, 1)), 1)
        shine.inputs["Roughness"].default_value = 0.02
        mix = tree.nodes.new("ShaderNodeMixShader")
        mix.inputs[0].default_value = self.rng.uniform(0.06, 0.25)
        tree.links.new(clear.outputs[0], mix.inputs[1])
        tree.links.new(shine.outputs[0], mix.inputs[2])
        output = next(node for node in tree.nodes if node.type == "OUTPUT_MATERIAL")
        tree.links.new(mix.outputs[0], output.inputs["Surface"])
        tree.nodes.remove(surface)
        return material

    def leaf(self) -> bpy.types.Material:
        """Return a green for plants."""
        return self.plain(self.colour((0.2, 0.4), (0.4, 0.9), (0.15, 0.6)), 0.5)

    def window_view(self, strength: float) -> bpy.types.Material:
        """Return a bright pane: a panorama, or pale sky above blurred greenery (local z, m)."""
        material, surface = new_material("view")
        tree, coordinates = material.node_tree, self._coordinates(material, (1, 1, 1))
        ramp = add_ramp(
            tree,
            [
                self.colour((0.2, 0.4), (0.2, 0.6), (0.15, 0.5)),
                self.colour((0.0, 0.6), (0.0, 0.3), (0.4, 0.8)),
                self.colour((0.52, 0.62), (0.0, 0.35), (0.9, 1.0)),
            ],
        )
        noise = add_node(tree, "ShaderNodeTexNoise", Vector=coordinates, Scale=3.0)
        split = add_node(tree, "ShaderNodeSeparateXYZ", Vector=object_coordinates(tree))
        height = add_node(tree, "ShaderNodeMath", 0, split.outputs["Z"], 1, noise.outputs[0])
        tree.links.new(height.outputs[0], ramp.inputs[0])
        surface.inputs["Base Color"].default_value = (0, 0, 0, 1)
        colour = ramp.outputs["Color"]
        if self._panorama is not None:  # seen along the ray that comes through the pane
            colour, mean = panorama_colour(tree, self._panorama, self._turn)
            strength *= 0.5 / mean
        tree.links.new(colour, surface.inputs["Emission Color"])
        surface.inputs["Emission Strength"].default_value = strength
        return material

    def sky(self, world: bpy.types.World) -> None:
        """Put a panorama, where there is one, in place of the world's uniform light."""
        if self._panorama is not None:
            colour, mean = panorama_colour(world.node_tree, self._panorama, self._turn)
            background = world.node_tree.nodes["Background"]
            world.node_tree.links.new(colour, background.inputs["Color"])
            background.inputs["Strength"].default_value /= mean

    def glow(self, colour: Colour, strength: float) -> bpy.types.Material:
        """Return a surface that gives light (radiance `strength` times colour)."""
        material, surface = new_material("glow")
        surface.inputs["Emission Color"].default_value = (*colour, 1)
        surface.inputs["Emission Strength"].default_value = strength
        return material

    # Photographs ---------------------------------------------------------------------------

    def _one_of(self, paths: tuple[Path, ...]) -> Path | None:
        return paths[self._look_rng.integers(len(paths))] if paths else None

    def _printed(self, made, chance: float, whole: bool = False):
        """Print a photograph on a material instead of its colour, by chance.

        Args:
            made: the material.
            chance: of it, where there are photographs.
            whole: the photograph fills the thing, as a poster; otherwise it covers half a metre
                to three and goes on in mirrored copies, as a wallpaper.
        """
        if self.looks.photographs and self._look_rng.random() < chance:
            size_m = math.exp(self._look_rng.uniform(math.log(0.5), math.log(3.0)))
            shift = self._look_rng.uniform(-5, 5, 3)
            photograph = self._one_of(self.looks.photographs)
            if is_readable(photograph):
                print_on(made, photograph, None if whole else (size_m, shift))
        return made
