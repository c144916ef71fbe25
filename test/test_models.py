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

"""Furniture catalogues: what they state is read, and what is no catalogue is named."""

from __future__ import annotations

import zipfile

import numpy as np
import pytest

from depthrefl_ros.training.synth.models import PROPERTIES, CatalogueError, Models

STATED = """
# comment
id=Test#Catalogue
name#1=Office chair
category#1=Office
model#1=/test/chair/chair.obj
width#1=55.0
depth#1=60.5
height#1=98.0
dropOnTopElevation#1=-1
name#2=Desk
category#2=Office
model#2=/test/desk/desk.obj
width#2=140.0
depth#2=70.0
height#2=74.0
dropOnTopElevation#2=73.5
modelRotation#2=1 0 0 0 0 -1 0 1 0
name#3=Upper cabinet
category#3=Kitchen
model#3=/test/upper/upper.obj
width#3=60
depth#3=35
height#3=70
elevation#3=145
name#4=Mug
category#4=Kitchen
model#4=/test/mug/mug.obj
width#4=9
depth#4=12
height#4=10
name#5=Fence
category#5=Exterior
model#5=/test/fence/fence.obj
width#5=200
depth#5=9
height#5=90
name#6=Lost
category#6=Office
model#6=/test/lost/lost.obj
width#6=50
depth#6=50
height#6=50
"""


@pytest.fixture
def catalogue(tmp_path):
    path = tmp_path / "test.sh3f"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(PROPERTIES, STATED.encode("latin-1"))
        for name in ("chair", "desk", "upper", "mug", "fence"):
            archive.writestr(f"test/{name}/{name}.obj", "v 0 0 0\n")
            archive.writestr(f"test/{name}/{name}.mtl", "newmtl a\n")
    return tmp_path


def test_models_are_found_by_use_and_place_with_their_sizes_in_metres(catalogue):
    models = Models(catalogue)
    (chair,) = models.find("office", "free")
    assert chair.name == "Office chair" and chair.size == (0.55, 0.605, 0.98)
    assert chair.top_m is None
    (desk,) = models.find("office", "wall")
    assert desk.top_m == pytest.approx(0.735)
    np.testing.assert_array_equal(desk.rotation, [[1, 0, 0], [0, 0, -1], [0, 1, 0]])
    (upper,) = models.find("kitchen", "hang")
    assert upper.elevation_m == pytest.approx(1.45)
    assert [model.name for model in models.find("kitchen", "small")] == ["Mug"]
    assert "Lost" not in [model.name for model in models.all]  # its file is not there
    assert not any(models.find(use, "wall") for use in ("living", "bedroom"))  # no fence


def test_a_model_is_unpacked_with_what_lies_beside_it(catalogue):
    models = Models(catalogue)
    path = models.unpack(models.find("kitchen", "small")[0])
    assert path.read_text() == "v 0 0 0\n" and path.with_suffix(".mtl").is_file()


def test_what_is_no_catalogue_is_named(tmp_path):
    with pytest.raises(CatalogueError, match="has no .*sh3f file: unpack"):
        Models(tmp_path)
    (tmp_path / "broken.sh3f").write_bytes(b"not a zip")
    with pytest.raises(CatalogueError, match="broken.sh3f is no furniture catalogue"):
        Models(tmp_path)
