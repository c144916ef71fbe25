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
poses, and the shapes mesh (whole, or one of its submeshes), box, cylinder, sphere and plane.
Physics, sensors, lights, actors and plugins are left out, and so is ``relative_to``: poses are
those of the element around them.
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
        submesh: name of the only part of the mesh that is shown; None for all of it.
        is_centred: the submesh's bounding box is moved to the middle of the visual.
        colour: stated diffuse colour, RGB 0..1, or None.
    """

    kind: str
    size: tuple[float, float, float]
    pose: np.ndarray
    mesh: Path | None = None
    colour: tuple[float, float, float] | None = None
    submesh: str | None = None
    is_centred: bool = False


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
            folder and the one above it. Of two with one name the first path counts.
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
        self._folders: dict[str, Path] = {}
        for path in sorted(models.rglob("*.sdf")):
            self._folders.setdefault(path.parent.name, path.parent)
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
                if inner is None:  # a light, as model://sun, or an actor
                    continue
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
                part = shape.find("submesh")
                chosen = (None, False)
                if part is not None:
                    chosen = (_text(part, "name"), _is_true(part.findtext("center")))
                return Visual("mesh", tuple(scale), pose, file, colour, *chosen)
            if shape.tag == "box":
                return Visual("box", tuple(_numbers(_text(shape, "size"), 3)), pose, None, colour)
            if shape.tag == "plane":
                size = _numbers(shape.findtext("size") or "20 20", 2)
                normal = _numbers(shape.findtext("normal") or "0 0 1", 3)
                return Visual("plane", (*size, 0.0), pose @ _turned_to(normal), None, colour)
            if shape.tag in ("cylinder", "sphere"):
                (radius,) = _numbers(_text(shape, "radius"), 1)
                (length,) = _numbers(shape.findtext("length") or f"{radius}", 1)
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
    """Return the (4, 4) matrix of an element's <pose>.

    It has x y z (m) and roll pitch yaw (rad, or degrees with `degrees="true"`), or with
    `rotation_format="quat_xyzw"` a quaternion of any length but 0.

    Raises:
        WorldError: it has other numbers, or another format.
    """
    matrix = np.eye(4)
    pose = element.find("pose")
    if pose is None or not (pose.text or "").strip():
        return matrix
    form, in_degrees = pose.get("rotation_format", "euler_rpy"), _is_true(pose.get("degrees"))
    if form == "euler_rpy":
        numbers = _numbers(pose.text, 6)
        angles = np.radians(numbers[3:]) if in_degrees else numbers[3:]
        matrix[:3, :3] = _from_angles(*angles)
    elif form == "quat_xyzw" and not in_degrees:
        numbers = _numbers(pose.text, 7)
        if not any(numbers[3:]):
            raise WorldError(f"<pose> '{pose.text}' has a quaternion of length 0")
        matrix[:3, :3] = _from_quaternion(np.array(numbers[3:]))
    else:
        raise WorldError(
            f"<pose> has {' '.join(f'{key}={value!r}' for key, value in pose.attrib.items())}; "
            "rotation_format is euler_rpy, or quat_xyzw without degrees"
        )
    matrix[:3, 3] = numbers[:3]
    return matrix


def _from_angles(roll: float, pitch: float, yaw: float) -> np.ndarray:
    """Return the (3, 3) rotation about fixed axes: x first, z last (rad)."""
    (sr, cr), (sp, cp), (sy, cy) = ((math.sin(a), math.cos(a)) for a in (roll, pitch, yaw))
    return np.array([
        [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
        [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
        [-sp, cp * sr, cp * cr],
    ])  # fmt: skip


def _from_quaternion(quaternion: np.ndarray) -> np.ndarray:
    """Return the (3, 3) rotation of a quaternion x y z w, whose length does not matter."""
    x, y, z, w = quaternion / np.linalg.norm(quaternion)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + 2 * w * cross + 2 * cross @ cross


def _turned_to(normal: list[float]) -> np.ndarray:
    """Return the (4, 4) matrix that turns z to a normal of any length the shortest way.

    Raises:
        WorldError: the normal's length is 0.
    """
    length = float(np.linalg.norm(normal))
    if length == 0:
        raise WorldError("<plane> has a <normal> of length 0")
    x, y, z = np.array(normal) / length
    matrix = np.eye(4)
    # Half of the way from z to the normal, about z x normal; upside down any level axis will do.
    half = np.array([-y, x, 0.0, 1.0 + z])
    matrix[:3, :3] = _from_quaternion(half if np.any(half) else np.array([1.0, 0.0, 0.0, 0.0]))
    return matrix


def _is_true(text: str | None) -> bool:
    return (text or "").strip().lower() in ("true", "1")


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
    except ValueError:
        numbers = []
    if len(numbers) < count or not all(map(math.isfinite, numbers)):
        what = f"{count} numbers" if count > 1 else "a number"
        raise WorldError(f"'{text}' must be {what}")
    return numbers[:count]
