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

"""Authors' own checkpoints become bundles: in OpenVINO, for TensorRT, and before the node."""

import numpy as np
import pytest
from authors_files import MAKERS

from depthrefl_ros.engine.openvino_engine import OpenVinoEngine
from depthrefl_ros.engine.self_test import self_test
from depthrefl_ros.engine.tensorrt.api import find_flavour
from depthrefl_ros.engine.tensorrt.build import build_plan

pytestmark = pytest.mark.usefixtures("one_torch_thread")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Bundles by the file that they are made of, each made once."""
    done = {}

    def get(name):
        if name not in done:
            done[name] = MAKERS[name](tmp_path_factory.mktemp("made"))
        return done[name]

    return get


@pytest.mark.parametrize("name", MAKERS)
def test_an_authors_file_becomes_a_bundle_that_openvino_runs(made, name):
    one = made(name)
    bundle = one.bundle
    assert list(bundle.sources) == [name.split()[0]]
    unstated = ("depth_anything_metric", "depth_anything_v2_metric_hypersim_vits")
    assert bundle.commercial == ("unknown" if name.startswith(unstated) else "yes")
    kind = {"da": "canonical", "depth_anything_v2_m": "metric", "Zoe": "metric"}
    kind["depth_anything_metric"] = "metric"
    kinds = [value for start, value in kind.items() if name.startswith(start)]
    assert bundle.kind == (kinds or ["inverse_relative"])[0]
    images = bundle.golden().images[:3]
    engine = OpenVinoEngine(bundle)
    self_test(engine, bundle)
    truth = one.planes(images)
    assert set(truth) == set(bundle.outputs)
    found = [engine.infer(image[None]) for image in images]
    engine.close()
    for plane, values in truth.items():
        other = np.concatenate([row[plane] for row in found])
        assert np.percentile(np.abs(other - values) / np.abs(values).clip(1e-2), 99) < 0.005
        assert values.std() > 0.02
    if "sky" in truth:
        assert 0.0 < (truth["sky"] > 0.5).mean() < 0.6


@pytest.mark.parametrize("name", MAKERS)
def test_tensorrt_for_rtx_builds_an_authors_file(made, name):
    rtx = find_flavour("tensorrt_rtx")
    if not rtx.can_build:
        pytest.skip(rtx.reason)
    bundle = made(name).bundle
    for file, precision in (("model.onnx", "fp32"), ("model_fp16.onnx", "fp16")):
        if file in bundle.files:
            assert build_plan("tensorrt_rtx", bundle.path(file), precision=precision).plan


@pytest.mark.parametrize("name", MAKERS)
def test_the_node_marks_what_the_authors_network_sees(made, running_node, name):
    one = made(name)
    plane = "relative" if one.bundle.kind == "inverse_relative" else "depth"
    running_node.check(one.bundle, lambda images: one.planes(images)[plane], one.bundle.licence)
