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

"""Brings a Gazebo world onto the stage, lights it, and says where cameras may be."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path

import collada
import numpy as np
from collada.common import DaeError

from .looks import PLAIN, Looks
from .materials import Materials
from .renderer import silence
from .stage import Matrix, Stage, bmesh, bpy
from .views import Region
from .worlds import Visual, WorldError

PROBES = 400  # rays that look for the floor and the ceiling
STEP_M = 0.05  # of the floor's height
HIGHEST_M = 12.0  # of a wall
LAMP_M = 3.0  # between lights
# Columns: where a Collada file's x, y and z point to on the stage (z up).
UPRIGHT = {
    "X_UP": [[0, -1, 0], [0, 0, -1], [1, 0, 0]],
    "Y_UP": [[1, 0, 0], [0, 0, -1], [0, 1, 0]],
    "Z_UP": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
}

# A mesh, its place at scale 1, and the names by which it can be chosen as a submesh.
Part = tuple[bpy.types.Mesh, Matrix, set[str]]


def build_world(
    stage: Stage, visuals: list[Visual], seed: int, looks: Looks = PLAIN
) -> tuple[Region, np.random.Generator]:
    """Fill the stage with a world and light that `seed` draws; adds a ceiling where none is.

    Raises:
        WorldError: a mesh cannot be read or lacks a submesh, or no floor is found.
    """
    rng = np.random.default_rng(seed)
    materials = Materials(rng, looks)
    known: dict[tuple, list] = {}
    for visual in visuals:
        key = (visual.kind, visual.mesh, visual.colour, visual.submesh, visual.is_centred)
        if key not in known:
            known[key] = _parts(visual, materials)
        place = Matrix(visual.pose.tolist()) @ Matrix.Diagonal((*visual.size, 1.0))
        stage.instance([(mesh, place @ local) for mesh, local, _ in known[key]])
    if not any(len(mesh.polygons) for parts in known.values() for mesh, *_ in parts):
        raise WorldError("the world shows nothing: none of its meshes has a face")
    region = find_region(stage, visuals, rng)
    _light(stage, materials, region)
    return region, rng


def find_region(stage: Stage, visuals: list[Visual], rng: np.random.Generator) -> Region:
    """Find floor and ceiling by rays from random places among the visuals.

    The floor is where most rays down end. Where fewer than half of the rays up hit anything, a
    ceiling is added: on the walls, or above what stands there.
    """
    centres = np.array([visual.pose[:3, 3] for visual in visuals])
    corners = stage.corners()
    x0, y0 = np.percentile(corners[:, :2], 1, axis=0)
    x1, y1 = np.percentile(corners[:, :2], 99, axis=0)
    middle = float(np.median(centres[:, 2])) + 1.2
    places = np.column_stack(
        [rng.uniform((x0, y0), (x1, y1), (PROBES, 2)), np.full(PROBES, middle)]
    )
    down = np.array([stage.distance(place, (0, 0, -1)) for place in places])
    heights = middle - down[np.isfinite(down)]
    if len(heights) < PROBES / 10:
        raise WorldError("the world has no floor: rays down from between its models hit nothing")
    levels, counts = np.unique(np.round(heights / STEP_M), return_counts=True)
    level = levels[counts.argmax()]
    floor = float(np.median(heights[np.round(heights / STEP_M) == level]))
    up = np.array([stage.distance((x, y, floor + 0.6), (0, 0, 1)) for x, y, _ in places])
    up = up[np.isfinite(up)] + 0.6
    if len(up) >= PROBES / 2:
        return Region((x0, y0, x1, y1), floor + float(np.percentile(up, 75)), floor)
    low, high = stage.boxes().swapaxes(0, 1)
    long = ((high - low)[:, :2] > 0.4 * np.array([x1 - x0, y1 - y0])).any(axis=1)
    walls = high[long & (high[:, 2] > floor + 1.8) & (high[:, 2] < floor + HIGHEST_M), 2]
    top = walls.max() if len(walls) else np.percentile(corners[:, 2], 98)
    ceiling = max(floor + 2.4, float(top) + 0.02)
    stage.block((x0, y0, ceiling), (x1, y1, ceiling + 0.1), Materials(rng).ceiling())
    return Region((x0, y0, x1, y1), ceiling, floor)


def _light(stage: Stage, materials: Materials, region: Region) -> None:
    """Hang lights under the ceiling in a grid."""
    rng, (x0, y0, x1, y1) = materials.rng, region.bounds
    area = (x1 - x0) * (y1 - y0)
    apart = max(LAMP_M, math.sqrt(area / 20))
    columns, rows = max(1, round((x1 - x0) / apart)), max(1, round((y1 - y0) / apart))
    tint = materials.colour((0.06, 0.16), (0.0, 0.3), (0.95, 1.0))
    watts = area * rng.uniform(3.0, 9.0) / (columns * rows)
    high = region.ceiling_m - 0.15
    for column in range(columns):
        for row in range(rows):
            x = x0 + (column + 0.5) * (x1 - x0) / columns
            y = y0 + (row + 0.5) * (y1 - y0) / rows
            stage.area_light((x, y, high), (1.0, 1.0), watts, tint)
    materials.sky(stage.ambient((1.0, 1.0, 1.0), rng.uniform(0.05, 0.3)))


def _parts(visual: Visual, materials: Materials) -> list[Part]:
    """Return a visual's meshes with their places at scale 1, before its pose."""
    if visual.kind == "mesh":
        is_collada = visual.mesh.suffix.lower() == ".dae"
        parts = _collada(visual.mesh, materials) if is_collada else _imported(visual.mesh)
        return parts if visual.submesh is None else _submesh(parts, visual)
    colour = visual.colour or materials.colour(saturation=(0.0, 0.3), value=(0.4, 0.9))
    return [(_shape(visual.kind, materials.plain(colour, 0.6)), Matrix.Identity(4), set())]


def _submesh(parts: list[Part], visual: Visual) -> list[Part]:
    """Return the parts that are called as a visual's submesh, moved to the middle if asked for.

    Raises:
        WorldError: there is none.
    """
    chosen = [part for part in parts if visual.submesh in part[2]]
    if not chosen:
        known = ", ".join(sorted(set().union(*(names for *_, names in parts)))) or "none"
        raise WorldError(f"{visual.mesh} has no submesh {visual.submesh!r}; it has {known}")
    if not visual.is_centred:
        return chosen
    corners = np.array(
        [tuple(place @ vertex.co) for mesh, place, _ in chosen for vertex in mesh.vertices]
    )
    middle = (corners.min(axis=0) + corners.max(axis=0)) / 2
    back = Matrix.Translation((-middle).tolist())
    return [(mesh, back @ place, names) for mesh, place, names in chosen]


def _shape(kind: str, surface) -> bpy.types.Mesh:
    """Return a shape of edge, radius or length 1 around the origin."""
    shape = bmesh.new()
    if kind == "box":
        bmesh.ops.create_cube(shape, size=1.0)
    elif kind == "cylinder":
        bmesh.ops.create_cone(shape, cap_ends=True, segments=32, radius1=1, radius2=1, depth=1)
    elif kind == "sphere":
        bmesh.ops.create_uvsphere(shape, u_segments=32, v_segments=16, radius=1.0)
    else:
        bmesh.ops.create_grid(shape, x_segments=1, y_segments=1, size=0.5)
    mesh = bpy.data.meshes.new(kind)
    shape.to_mesh(mesh)
    shape.free()
    mesh.materials.append(surface)
    return mesh


def _collada(path: Path, materials: Materials) -> list[Part]:
    """Read a Collada file with its textures; units and the upward axis are the file's."""
    try:
        file = collada.Collada(str(path), ignore=[DaeError])
        shapes = [
            (part, names)
            for thing, names in _geometries(file.scene.nodes)
            for part in thing.primitives()
        ]
    except (DaeError, OSError, ValueError, AttributeError) as error:
        raise WorldError(f"{path} is no Collada file that can be read: {error}") from error
    unit = file.assetInfo.unitmeter or 1.0
    upright = Matrix(UPRIGHT.get(file.assetInfo.upaxis, UPRIGHT["Z_UP"])).to_4x4()
    place = upright @ Matrix.Scale(unit, 4)
    parts = []
    for shape, names in shapes:
        triangles = shape.triangleset() if hasattr(shape, "triangleset") else shape
        if triangles.vertex_index is None or not len(triangles.vertex_index):
            continue
        mesh = bpy.data.meshes.new(path.stem)
        mesh.from_pydata(triangles.vertex.tolist(), [], triangles.vertex_index.tolist())
        if triangles.texcoord_indexset:
            corners = triangles.texcoordset[0][triangles.texcoord_indexset[0]].reshape(-1, 2)
            layer = mesh.uv_layers.new()
            if len(layer.data) == len(corners):
                layer.data.foreach_set("uv", corners.astype(np.float32).ravel())
        mesh.materials.append(_collada_surface(shape, path, materials))
        parts.append((mesh, place, names))
    return parts


def _geometries(
    nodes: list, matrix: np.ndarray | None = None, owner: frozenset[str] = frozenset()
) -> Iterator[tuple]:
    """Yield every geometry below some nodes of a Collada scene, in place, and its names.

    Its names are those of its node, as Gazebo calls a submesh, and its own.
    """
    matrix = np.eye(4, dtype=np.float32) if matrix is None else matrix
    for node in nodes:
        if hasattr(node, "geometry"):
            names = {node.geometry.id, node.geometry.name, *owner} - {None, ""}
            yield from ((bound, names) for bound in node.objects("geometry", matrix))
        elif hasattr(node, "children"):
            given = node.xmlnode.get("name") if node.xmlnode is not None else None
            yield from _geometries(
                node.children, matrix @ node.matrix, frozenset({node.id, given} - {None, ""})
            )


def _collada_surface(shape, path: Path, materials: Materials):
    """Return a material with the texture or the colour that the file states."""
    effect = getattr(shape.material, "effect", None)
    diffuse = getattr(effect, "diffuse", None)
    surface = materials.plain((0.6, 0.6, 0.6), 0.6)
    shader = surface.node_tree.nodes["Principled BSDF"]
    if hasattr(diffuse, "sampler"):
        picture = path.parent / diffuse.sampler.surface.image.path
        if picture.is_file():
            node = surface.node_tree.nodes.new("ShaderNodeTexImage")
            node.image = bpy.data.images.load(str(picture), check_existing=True)
            surface.node_tree.links.new(node.outputs["Color"], shader.inputs["Base Color"])
    elif diffuse is not None:
        shader.inputs["Base Color"].default_value = (*[float(c) for c in diffuse[:3]], 1)
    return surface


def _imported(path: Path) -> list[Part]:
    """Read OBJ, STL or glTF with Blender's importers; OBJ and STL have z up, as Gazebo has."""
    nursery = bpy.data.scenes.new("nursery")
    try:
        with (
            silence(),
            bpy.context.temp_override(
                scene=nursery, view_layer=nursery.view_layers[0], collection=nursery.collection
            ),
        ):
            if path.suffix.lower() == ".obj":
                bpy.ops.wm.obj_import(filepath=str(path), forward_axis="Y", up_axis="Z")
            elif path.suffix.lower() == ".stl":
                bpy.ops.wm.stl_import(filepath=str(path))
            else:
                bpy.ops.import_scene.gltf(filepath=str(path))
    except RuntimeError as error:
        raise WorldError(f"{path} cannot be read: {error}") from error
    parts = [
        (thing.data, thing.matrix_world.copy(), {_stated(thing.name), _stated(thing.data.name)})
        for thing in nursery.objects
        if thing.type == "MESH"
    ]
    bpy.data.scenes.remove(nursery)
    return parts


def _stated(name: str) -> str:
    """Return a name as the file has it: Blender numbers what is called like something before."""
    return re.sub(r"\.\d{3}$", "", name)
