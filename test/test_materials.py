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

"""What surfaces are made of: pictures that cannot be read are left out, or named."""

from __future__ import annotations

import json

import cv2
import numpy as np
from synth_python import run_in_blender, skip_without_blender

# Prints the names of the pictures that forty walls are printed with.
WALLS = """
import json, sys
from pathlib import Path
import numpy as np
from depthrefl_ros.training.synth.looks import Looks
from depthrefl_ros.training.synth.materials import Materials
from depthrefl_ros.training.synth.stage import Stage, bpy

stage = Stage()
materials = Materials(np.random.default_rng(0), Looks((), tuple(map(Path, sys.argv[1:]))))
for _ in range(40):
    materials.wall()
print(json.dumps(sorted(Path(image.filepath).name for image in bpy.data.images if image.filepath)))
"""


def test_walls_are_printed_with_the_photographs_that_can_be_read(tmp_path):
    skip_without_blender()
    cv2.imwrite(str(tmp_path / "good.png"), np.full((8, 8, 3), 90, np.uint8))
    (tmp_path / "broken.jpg").write_bytes(b"hello")
    done = run_in_blender(WALLS, tmp_path / "good.png", tmp_path / "broken.jpg")
    assert json.loads(done.stdout.splitlines()[-1]) == ["good.png"]
    assert done.stderr.count("broken.jpg: not an image") == 1


# Prints what a window says of its panorama.
WINDOW = """
import sys
from pathlib import Path
import numpy as np
from depthrefl_ros.training.synth.looks import Looks, LooksError
from depthrefl_ros.training.synth.materials import Materials
from depthrefl_ros.training.synth.stage import Stage

stage = Stage()
try:
    looks = Looks((Path(sys.argv[1]),))
    Materials(np.random.default_rng(0), looks).sky(stage.ambient((1, 1, 1), 1))
except LooksError as error:
    print(error)
"""


def test_a_broken_panorama_is_named(tmp_path):
    skip_without_blender()
    (tmp_path / "sky.exr").write_bytes(b"hello")
    done = run_in_blender(WINDOW, tmp_path / "sky.exr")
    assert done.stdout.splitlines()[-1].endswith("sky.exr: no panorama that Blender can read")
