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

"""Synthetic scenes: furnished rooms and a robot's drive, rendered with exact depth.

Blender's Python module ``bpy`` builds and renders the scenes; it needs an environment of its own
(``requirements-synth.txt``). Importing this package needs nothing: ``bpy`` is imported by
``stage.py``, and only by the modules that build on it. ``recording.py`` and ``folder.py`` need no
Blender and run in the project's ordinary environment.

The way of one image:

    shell.py, furniture.py, things.py, materials.py ─► stage.py (primitives)
    models.py (catalogues) ─► imports.py (furniture models on the stage)
    worlds.py (SDF) ─► world_stage.py (a Gazebo world on the stage)
    spaces.py, halls.py (what is built in), floor_plan.py (free spots) ─► rooms.py, drive.py
      ─► views.py (where cameras stand) ─► renderer.py (image, depth, camera)
      ─► folder.py (dataset) ─► recording.py (MCAP)
"""
