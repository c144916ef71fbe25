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

"""A bundle of links, as caches of downloads keep it, runs."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np

from depthrefl_ros.engine.bundle import Bundle
from depthrefl_ros.engine.openvino_engine import OpenVinoEngine
from depthrefl_ros.engine.real_graphs import real_graphs


def linked(folder: Path, files: Path) -> Path:
    """Return a folder of links to the files by their digests, as the Hub's cache has it."""
    (folder / "blobs").mkdir(parents=True)
    (folder / "snapshot").mkdir()
    for path in files.iterdir():
        blob = folder / "blobs" / hashlib.sha256(path.read_bytes()).hexdigest()
        shutil.copyfile(path, blob)
        (folder / "snapshot" / path.name).symlink_to(Path("..") / "blobs" / blob.name)
    return folder / "snapshot"


def test_a_bundle_of_links_runs(tmp_path):
    shipped = Bundle.load("indoor_nano")
    bundle = Bundle.load(str(linked(tmp_path / "hub", shipped.folder)))
    images = bundle.golden().images[:1]
    found, expected = (OpenVinoEngine(one).infer(images)["depth"] for one in (bundle, shipped))
    np.testing.assert_array_equal(found, expected)


def test_graphs_that_are_no_links_are_given_where_they_are(tmp_path):
    path = Bundle.load("indoor_nano").path("model.onnx")
    with real_graphs(path) as (graph,):
        assert graph == path.resolve()
    with real_graphs(linked(tmp_path / "hub", path.parent) / "model.onnx") as (graph,):
        assert not graph.is_symlink() and graph.with_name("model.safetensors").is_file()
    assert not graph.exists()
