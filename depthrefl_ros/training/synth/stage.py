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

"""Stage: a Blender scene filled with boxes, cylinders, leaves and lights, in metres.

World frame: x and y along the floor, z up (REP-103). Everything is placed in the stage's current
local frame, which ``Stage.at`` moves for the time of a ``with`` block, so that a piece of
furniture is described once, around its own origin, and placed anywhere.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

try:
    import bpy  # noqa: I001  bmesh and mathutils exist only once bpy is loaded
    import bmesh
    from mathutils import Matrix, Vector
    from mathutils.bvhtree import BVHTree
except ImportError as error:
    raise ImportError(
        "rendering needs Blender's Python module bpy, which is not installed here: make an "
        "environment with Python 3.11 and `pip install -r requirements-synth.txt`"
    ) from error

Point = Sequence[float]
THING_M = (0.04, 2.6)  # size of what is a thing: more than this, and less
LEAST_ALPHA = 1e-3  # of a material that is seen
PANES = ("glass", "view")  # materials of panes and windows, without Blender's number behind


class Stage:
    """An empty Blender scene and the means to fill it. One exists at a time: bpy is global."""

    def __init__(self) -> None:
        bpy.ops.wm.read_factory_settings(use_empty=True)
        self.scene = bpy.context.scene
        self._frame = Matrix.Identity(4)
        self._tree: BVHTree | None = None
        self._face_is_glass: list[bool] = []  # of the faces in the tree
        self.store = None  # of imported models, where there are any (imports.py)

    @contextmanager
    def at(self, x: float, y: float, z: float = 0.0, yaw: float = 0.0) -> Iterator[None]:
        """Place what is built inside the block at (x, y, z) metres, turned by yaw radians."""
        outer = self._frame
        self._frame = outer @ Matrix.Translation((x, y, z)) @ Matrix.Rotation(yaw, 4, "Z")
        try:
            yield
        finally:
            self._frame = outer

    def box(
        self,
        centre: Point,
        size: Point,
        material: bpy.types.Material,
        yaw: float = 0.0,
        rounding: float = 0.0,
    ) -> None:
        """Add a box of edge lengths `size` (m) at `centre`; `rounding` bevels its edges (m)."""
        half = [max(s, 1e-4) / 2 for s in size]
        shape = bmesh.new()
        bmesh.ops.create_cube(shape, size=2.0)
        bmesh.ops.scale(shape, vec=half, verts=shape.verts)
        if rounding > 0:
            radius = min(rounding, 0.45 * 2 * min(half))
            bmesh.ops.bevel(
                shape, geom=shape.edges[:], offset=radius, segments=3, profile=0.5, affect="EDGES"
            )
        self._add(shape, centre, material, Matrix.Rotation(yaw, 4, "Z"), smooth=rounding > 0)

    def block(self, low: Point, high: Point, material: bpy.types.Material) -> None:
        """Add the axis-parallel box between the corners `low` and `high` (m)."""
        centre = [(a + b) / 2 for a, b in zip(low, high, strict=True)]
        self.box(centre, [b - a for a, b in zip(low, high, strict=True)], material)

    def cylinder(
        self,
        base: Point,
        radius: float,
        height: float,
        material: bpy.types.Material,
        top_radius: float | None = None,
        tilt: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        """Add an upright cylinder or cone frustum on `base`; tilt turns it about x, then y."""
        shape = bmesh.new()
        bmesh.ops.create_cone(
            shape,
            cap_ends=True,
            segments=24,
            radius1=radius,
            radius2=radius if top_radius is None else top_radius,
            depth=height,
        )
        bmesh.ops.translate(shape, vec=(0, 0, height / 2), verts=shape.verts)
        turn = Matrix.Rotation(tilt[1], 4, "Y") @ Matrix.Rotation(tilt[0], 4, "X")
        self._add(shape, base, material, turn, smooth=False)

    def ellipsoid(self, centre: Point, radii: Point, material: bpy.types.Material) -> None:
        """Add an ellipsoid with half axes `radii` (m)."""
        shape = bmesh.new()
        bmesh.ops.create_uvsphere(shape, u_segments=24, v_segments=14, radius=1.0)
        bmesh.ops.scale(shape, vec=radii, verts=shape.verts)
        self._add(shape, centre, material, Matrix.Identity(4), smooth=True)

    def leaves(
        self,
        centre: Point,
        spread: float,
        count: int,
        leaf: float,
        material: bpy.types.Material,
        rng: np.random.Generator,
    ) -> None:
        """Add `count` flat leaves of length `leaf` (m) in a ball of radius `spread`, one mesh."""
        shape = bmesh.new()
        for _ in range(count):
            away = Vector(rng.normal(size=3)).normalized() * spread * rng.uniform(0.2, 1) ** 0.5
            along = (away.normalized() + Vector(rng.normal(0, 0.5, 3))).normalized()
            across = along.cross(Vector(rng.normal(size=3))).normalized() * leaf * 0.22
            tip, middle = away + along * leaf, away + along * leaf * 0.5
            corners = [away, middle + across, tip, middle - across]
            shape.faces.new([shape.verts.new(corner) for corner in corners])
        self._add(shape, centre, material, Matrix.Identity(4), smooth=False)

    def area_light(
        self,
        centre: Point,
        size: tuple[float, float],
        watts: float,
        colour: Point,
        facing: Point = (0.0, 0.0, -1.0),
    ) -> None:
        """Add a rectangular light (m, W) that lights the scene and is itself not seen."""
        light = bpy.data.lights.new("area", "AREA")
        light.shape, (light.size, light.size_y) = "RECTANGLE", size
        light.energy, light.color = watts, colour
        self._add_light(light, centre, Vector(facing).to_track_quat("-Z", "Y").to_matrix().to_4x4())

    def point_light(self, centre: Point, radius: float, watts: float, colour: Point) -> None:
        """Add a small round light (a bulb): radius m, power W."""
        light = bpy.data.lights.new("bulb", "POINT")
        light.shadow_soft_size, light.energy, light.color = radius, watts, colour
        self._add_light(light, centre, Matrix.Identity(4))

    def ambient(self, colour: Point, strength: float) -> bpy.types.World:
        """Set the world's uniform light, which reaches rooms through what is left open."""
        world = bpy.data.worlds.new("world")
        self.scene.world = world
        background = world.node_tree.nodes["Background"]
        background.inputs["Color"].default_value = (*colour, 1.0)
        background.inputs["Strength"].default_value = strength
        return world

    def instance(self, parts: list[tuple[bpy.types.Mesh, Matrix]]) -> None:
        """Add a model that `imports.py` has read: meshes with their places around the origin."""
        for mesh, place in parts:
            self._link(bpy.data.objects.new("model", mesh), (0.0, 0.0, 0.0), place)

    def distance(self, origin: Point, direction: Point) -> float:
        """Return the way (m) from `origin` along unit `direction` to the first surface, or inf."""
        way = self._surfaces().ray_cast(origin, direction)[3]
        return math.inf if way is None else way

    def cast(self, origin: np.ndarray, directions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the ways and the backs of ``first_surfaces``, which is what a view asks for."""
        return self.first_surfaces(origin, directions)[:2]

    def first_surfaces(
        self, origin: np.ndarray, directions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Cast rays from one point along (N, 3) unit directions to the first surface of each.

        Returns:
            (N,) ways in metres, inf where there is none; (N,) bool, it was hit from behind; (N,)
            bool, it is a pane or a window.
        """
        tree, start = self._surfaces(), Vector(origin)
        hits = [tree.ray_cast(start, direction) for direction in directions.tolist()]
        ways = np.array([math.inf if hit[3] is None else hit[3] for hit in hits])
        normals = np.array([(0.0, 0.0, 0.0) if hit[1] is None else tuple(hit[1]) for hit in hits])
        is_glass = [hit[2] is not None and self._face_is_glass[hit[2]] for hit in hits]
        return ways, (normals * directions).sum(axis=1) > 0, np.array(is_glass)

    def boxes(self) -> np.ndarray:
        """Return the lowest and highest corner of each mesh's bounding box, (N, 2, 3) metres."""
        found = []
        for thing in self.scene.objects:
            if thing.type == "MESH":
                box = [thing.matrix_world @ Vector(corner) for corner in thing.bound_box]
                found.append((np.min(box, axis=0), np.max(box, axis=0)))
        return np.array(found).reshape(-1, 2, 3)

    def things(self) -> np.ndarray:
        """Return the middles (N, 3) of all parts of the sizes `THING_M`, in metres."""
        boxes = self.boxes()
        size = (boxes[:, 1] - boxes[:, 0]).max(axis=1)
        smallest, largest = THING_M
        return boxes[(smallest < size) & (size < largest)].mean(axis=1)

    def corners(self) -> np.ndarray:
        """Return the vertices (N, 3) of all meshes in the world, metres."""
        return np.concatenate([corners for corners, _ in self._meshes()])

    def _meshes(self) -> Iterator[tuple[np.ndarray, bpy.types.Mesh]]:
        for thing in self.scene.objects:
            if thing.type == "MESH":
                mesh, pose = thing.data, np.array(thing.matrix_world)
                local = np.empty(len(mesh.vertices) * 3, np.float32)
                mesh.vertices.foreach_get("co", local)
                yield local.reshape(-1, 3) @ pose[:3, :3].T + pose[:3, 3], mesh

    def _surfaces(self) -> BVHTree:
        """Return all surfaces as they are now, panes and mirrors too, in one search tree.

        What a wholly transparent material covers is not seen and is no surface.
        """
        if self._tree is None:
            corners, faces, count, glass = [], [], 0, []
            for points, mesh in self._meshes():
                is_pane = any(each and each.name.split(".")[0] in PANES for each in mesh.materials)
                unseen = {i for i, each in enumerate(mesh.materials) if is_transparent(each)}
                seen = [face for face in mesh.polygons if face.material_index not in unseen]
                glass += [is_pane] * len(seen)
                corners += points.tolist()
                faces += [[corner + count for corner in face.vertices] for face in seen]
                count += len(points)
            self._tree = BVHTree.FromPolygons(corners, faces)
            self._face_is_glass = glass
        return self._tree

    def _add(self, shape, centre, material, turn, smooth: bool) -> None:
        mesh = bpy.data.meshes.new("part")
        shape.to_mesh(mesh)
        shape.free()
        if smooth:
            mesh.polygons.foreach_set("use_smooth", [True] * len(mesh.polygons))
        mesh.materials.append(material)
        self._link(bpy.data.objects.new("part", mesh), centre, turn)

    def _add_light(self, light, centre, turn) -> None:
        lamp = bpy.data.objects.new("light", light)
        lamp.visible_camera = False  # else its invisible rectangle would be in the picture
        self._link(lamp, centre, turn)

    def _link(self, thing, centre, turn) -> None:
        thing.matrix_world = self._frame @ Matrix.Translation(Vector(centre)) @ turn
        self.scene.collection.objects.link(thing)
        self._tree = None


def is_transparent(material: bpy.types.Material | None) -> bool:
    """Return whether nothing of a material is seen: its alpha is 0 all over."""
    tree = material.node_tree if material else None
    shader = tree.nodes.get("Principled BSDF") if tree else None
    if shader is None:
        return False
    alpha = shader.inputs["Alpha"]
    return not alpha.is_linked and alpha.default_value < LEAST_ALPHA
