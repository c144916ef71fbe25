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

"""Gazebo worlds (SDF): which meshes and shapes stand where. Blender is not needed here.

Read are ``<include>`` (``model://`` and relative URIs), nested models, links and visuals with their
poses, and the shapes mesh, box, cylinder, sphere and plane. Physics, sensors, lights and plugins
are left out, and so is ``relative_to``: poses are those of the element around them.
Format: http://sdformat.org/spec.
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

import numpy as np

MESHES = {".dae", ".obj", ".stl", ".gltf", ".glb"}


class WorldError(ValueError):
    """A folder or file is no usable world; the message names it."""


@dataclass(frozen=True)
class Visual:
    """One visible shape.

    Attributes:
        kind: "mesh", "box", "cylinder", "sphere" or "plane".
        size: scale of a mesh; edges of a box; radius, radius, length of a cylinder; radius thrice
            of a sphere; both edges and 0 of a plane, in metres.
        pose: (4, 4) world_from_visual.
        mesh: its file, for a mesh.
        colour: stated diffuse colour, RGB 0..1, or None.
    """

    kind: str
    size: tuple[float, float, float]
    pose: np.ndarray
    mesh: Path | None = None
    colour: tuple[float, float, float] | None = None


def find_world(folder: Path) -> Path:
    """Return the world file in a folder or below, or the file itself.

    Raises:
        WorldError: there is none, or more than one.
    """
    if folder.is_file():
        return folder
    found = sorted(path for path in folder.rglob("*.world") if path.is_file())
    found = found or [path for path in sorted(folder.rglob("*.sdf")) if path.name != "model.sdf"]
    if not found:
        raise WorldError(f"{folder} has no *.world and no world's *.sdf")
    if len(found) > 1:
        names = ", ".join(str(path.relative_to(folder)) for path in found)
        raise WorldError(f"{folder} has {len(found)} worlds: name one of {names}")
    return found[0]


def read_world(
    path: Path, models: Path | None = None, files: set[Path] | None = None
) -> list[Visual]:
    """Return all visuals of a world.

    Args:
        path: the world's file.
        models: folder under which models are looked for by name; by default the world file's
            folder and the one above it.
        files: gets what was read, and the meshes that are to be read.

    Raises:
        WorldError: the file is no SDF world, a model or mesh is missing or a shape is unknown.
    """
    reader = _Reader(models or path.parent.parent)
    reader.files.add(path)
    root = _parse(path).find("world")
    if root is None:
        raise WorldError(f"{path} has no <world>")
    visuals: list[Visual] = []
    reader.read(root, np.eye(4), path.parent, visuals)
    if not visuals:
        raise WorldError(f"{path} shows nothing: it has no <visual>")
    if files is not None:
        files |= reader.files
    return visuals


class _Reader:
    """Walks through elements; knows where models are."""

    def __init__(self, models: Path) -> None:
        self._folders = {path.parent.name: path.parent for path in sorted(models.rglob("*.sdf"))}
        self._root = models
        self.files: set[Path] = set()

    def read(self, element, pose: np.ndarray, base: Path, out: list[Visual]) -> None:
        """Add the visuals of a world, model or link, whose frame is `pose`."""
        for child in element:
            if child.tag in ("model", "link"):
                self.read(child, pose @ pose_matrix(child), base, out)
            elif child.tag == "include":
                folder = self._resolve(_text(child, "uri"), base)
                file = folder if folder.is_file() else folder / "model.sdf"
                if not file.is_file():
                    raise WorldError(f"model {_text(child, 'uri')} has no {file}")
                self.files.add(file)
                inner = _parse(file).find("model")
                own = pose_matrix(child) if child.find("pose") is not None else pose_matrix(inner)
                self.read(inner, pose @ own, file.parent, out)
            elif child.tag == "visual":
                out.append(self._visual(child, pose @ pose_matrix(child), base))

    def _visual(self, element, pose: np.ndarray, base: Path) -> Visual:
        geometry = element.find("geometry")
        diffuse = element.findtext("material/diffuse")
        colour = tuple(_numbers(diffuse, 3)) if diffuse else None
        name = element.get("name", "")
        for shape in geometry if geometry is not None else ():
            if shape.tag == "mesh":
                file = self._resolve(_text(shape, "uri"), base)
                if file.suffix.lower() not in MESHES or not file.is_file():
                    known = ", ".join(sorted(MESHES))
                    raise WorldError(f"visual {name}: mesh {file} is missing or none of {known}")
                self.files.add(file)
                scale = _numbers(shape.findtext("scale") or "1 1 1", 3)
                return Visual("mesh", tuple(scale), pose, file, colour)
            if shape.tag == "box":
                return Visual("box", tuple(_numbers(_text(shape, "size"), 3)), pose, None, colour)
            if shape.tag == "plane":
                size = _numbers(shape.findtext("size") or "20 20", 2)
                return Visual("plane", (*size, 0.0), pose, None, colour)
            if shape.tag in ("cylinder", "sphere"):
                radius = float(_text(shape, "radius"))
                length = float(shape.findtext("length") or radius)
                return Visual(shape.tag, (radius, radius, length), pose, None, colour)
        raise WorldError(f"visual {name} has no shape that is known: mesh, box, cylinder, sphere, "
                         "plane")  # fmt: skip

    def _resolve(self, uri: str, base: Path) -> Path:
        scheme, _, rest = uri.partition("://")
        if not rest:
            return base / uri
        if scheme == "file":
            return Path(rest) if Path(rest).is_absolute() else self._root / rest
        name, _, inner = rest.partition("/")
        if scheme not in ("model", "package") or name not in self._folders:
            raise WorldError(f"{uri} was not found: no folder {name} with an *.sdf file below "
                             f"{self._root}")  # fmt: skip
        return self._folders[name] / inner if inner else self._folders[name]


def pose_matrix(element) -> np.ndarray:
    """Return the (4, 4) matrix of an element's <pose>: x y z (m), roll pitch yaw (rad)."""
    matrix = np.eye(4)
    pose = element.find("pose")
    if pose is None or not (pose.text or "").strip():
        return matrix
    x, y, z, roll, pitch, yaw = _numbers(pose.text, 6)
    if pose.get("degrees") == "true":
        roll, pitch, yaw = (math.radians(angle) for angle in (roll, pitch, yaw))
    (sr, cr), (sp, cp), (sy, cy) = ((math.sin(a), math.cos(a)) for a in (roll, pitch, yaw))
    matrix[:3, :3] = [
        [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
        [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
        [-sp, cp * sr, cp * cr],
    ]
    matrix[:3, 3] = (x, y, z)
    return matrix


def _parse(path: Path):
    try:
        return ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError) as error:
        raise WorldError(f"{path} cannot be read: {error}") from error


def _text(element, tag: str) -> str:
    text = (element.findtext(tag) or "").strip()
    if not text:
        raise WorldError(f"<{element.tag}> lacks <{tag}>")
    return text


def _numbers(text: str, count: int) -> list[float]:
    try:
        numbers = [float(word) for word in text.split()]
    except ValueError as error:
        raise WorldError(f"'{text}' must be {count} numbers") from error
    if len(numbers) < count:
        raise WorldError(f"'{text}' must be {count} numbers")
    return numbers[:count]
