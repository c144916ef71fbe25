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

"""Furniture models with stated sizes, read from Sweet Home 3D catalogues (``*.sh3f``).

A catalogue is a ZIP archive with Wavefront models and ``PluginFurnitureCatalog.properties``, which
states each model's name, category, size in centimetres, and how high it hangs. Debian's package
``sweethome3d-furniture`` has 820 of them. Blender is not needed here; `stage.py` imports a model.
"""

from __future__ import annotations

import re
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

PROPERTIES = "PluginFurnitureCatalog.properties"
LARGEST_MODEL_BYTES = 2_500_000  # of the .obj file: more is slow to build and no better to see
SMALL_M = 0.5  # what is no larger in any direction stands on furniture
HANGS_M = 0.25  # what is stated to be higher hangs on a wall

# Categories of the catalogues by where they belong; the others are for outdoors.
CATEGORIES = {
    "living": ("Living room", "Miscellaneous"),
    "bedroom": ("Bedroom",),
    "office": ("Office",),
    "kitchen": ("Kitchen",),
    "bathroom": ("Bathroom",),
    "people": ("Characters",),
}
FREE = re.compile(
    r"chair|stool|table|puff|pouf|plant|ficus|yucca|piano|bike|tree|bench|ball|box|bag|suitcase|basket|"
    r"island|tub|bath$|scooter|stroller|skate|cat|dog|female|male|boy|girl|pallet|barrel|cone",
    re.IGNORECASE,
)
OUTDOORS = re.compile(
    r"arrow|road|pool$|swimming|crossing|parking|goal|hut|lamppost|fence|hedge|truck|garage|"
    r"sidewalk|rail|ceiling|pendant|hanging light|chandelier|hanging l|tent|hammock|trampoline|"
    r"stair|escalator|elevator|light$|tatami|sitting|lying|carpet|rug|mat$|antenna|plug|switch|"
    r"socket|diving|container|snow|fountain|column|roof|deer|biplane|beach|street|park|^horse|furnace",
    re.IGNORECASE,
)


class CatalogueError(ValueError):
    """A folder has no usable catalogue; the message names it."""


@dataclass(frozen=True)
class Model:
    """One model of a catalogue.

    Attributes:
        name: as the catalogue states it.
        category: likewise.
        size: width, depth, height in metres.
        elevation_m: of its underside above the floor.
        top_m: height of the surface on which things stand, or None.
        rotation: (3, 3) that turns the file's vertices (y up) upright.
        archive: the catalogue.
        path: of the .obj file in it.
    """

    name: str
    category: str
    size: tuple[float, float, float]
    elevation_m: float
    top_m: float | None
    rotation: np.ndarray
    archive: Path
    path: str

    @property
    def place(self) -> str:
        """Where it goes: "hang" on a wall, "small" on furniture, "free" or back to a "wall"."""
        if self.elevation_m >= HANGS_M:
            return "hang"
        if max(self.size) <= SMALL_M:
            return "small"
        return "free" if FREE.search(self.name) else "wall"


class Models:
    """The models of all catalogues in a folder and below, by use and place.

    Args:
        folder: where ``*.sh3f`` files are.

    Raises:
        CatalogueError: there is none, or one cannot be read.
    """

    def __init__(self, folder: str | Path) -> None:
        archives = sorted(Path(folder).rglob("*.sh3f"))
        if not archives:
            raise CatalogueError(
                f"{folder} has no *.sh3f file: unpack Debian's package "
                "sweethome3d-furniture there (dpkg -x FILE.deb FOLDER)"
            )
        self._unpacked = tempfile.TemporaryDirectory(prefix="models-")
        self.all = [model for archive in archives for model in read_catalogue(archive)]
        self._by_use = {
            use: [m for m in self.all if m.category in names and not OUTDOORS.search(m.name)]
            for use, names in CATEGORIES.items()
        }

    def find(self, use: str, place: str) -> list[Model]:
        """Return the models for a kind of room or "people", by `Model.place`."""
        return [model for model in self._by_use.get(use, []) if model.place == place]

    def unpack(self, model: Model) -> Path:
        """Return the model's .obj file on disk, with its materials and textures beside it."""
        root = Path(self._unpacked.name) / model.archive.stem
        path = root / model.path
        if not path.is_file():
            folder = str(PurePosixPath(model.path).parent) + "/"
            with zipfile.ZipFile(model.archive) as archive:
                members = [name for name in archive.namelist() if name.startswith(folder)]
                archive.extractall(root, members)
        return path


def read_catalogue(archive: Path) -> list[Model]:
    """Read the models that a catalogue states.

    Raises:
        CatalogueError: it is no ZIP archive with properties.
    """
    try:
        with zipfile.ZipFile(archive) as file:
            sizes = {info.filename: info.file_size for info in file.infolist()}
            text = file.read(PROPERTIES).decode("latin-1")
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise CatalogueError(f"{archive} is no furniture catalogue: {error}") from error
    entries: dict[int, dict[str, str]] = {}
    for key, number, value in re.findall(r"^(\w+)#(\d+)\s*=[ \t]*(.*?)\s*$", text, re.MULTILINE):
        entries.setdefault(int(number), {})[key] = value
    models = []
    for entry in entries.values():
        path = entry.get("model", "").lstrip("/")
        size = tuple(float(entry[key]) / 100 for key in ("width", "depth", "height"))
        flat = size[2] < 0.08 and max(size) > SMALL_M
        if flat or not 0 < sizes.get(path, 0) <= LARGEST_MODEL_BYTES:
            continue
        rotation = [float(v) for v in entry.get("modelRotation", "1 0 0 0 1 0 0 0 1").split()]
        top = entry.get("dropOnTopElevation")
        models.append(
            Model(
                name=entry["name"],
                category=entry["category"],
                size=size,
                elevation_m=float(entry.get("elevation", 0)) / 100,
                top_m=None if top is None or float(top) < 0 else float(top) / 100,
                rotation=np.array(rotation).reshape(3, 3),
                archive=archive,
                path=path,
            )
        )
    return models
