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

"""Graphs and their weights as files that lie together, where a bundle is made of links."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from depthrefl_ros.engine.bundle import MODEL_WEIGHTS, WEIGHTS


@contextlib.contextmanager
def real_graphs(*paths: Path) -> Iterator[list[Path]]:
    """Give graphs of a bundle that lie beside their weights, all of them files and no links.

    Caches such as the Hub's link each file to one that is called by its digest. Runtimes look for
    weights beside the graph, some behind links and some not: such files are copied for the time
    of the ``with`` block, others are given as they are.

    Args:
        paths: of the graphs, all in one folder.

    Raises:
        OSError: there is no room for copies.
    """
    folder = paths[0].parent
    weights = [folder / name for name in (WEIGHTS, MODEL_WEIGHTS) if (folder / name).is_file()]
    real = paths[0].resolve().parent
    if all(path.resolve() == real / path.name for path in (*paths, *weights)):
        yield [path.resolve() for path in paths]
        return
    with tempfile.TemporaryDirectory() as copies:
        for path in (*paths, *weights):
            shutil.copyfile(path, Path(copies) / path.name)
        yield [Path(copies) / path.name for path in paths]
