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

"""DA3METRIC-LARGE against the public class's parts, and what its 300 pixels mean."""

import shutil

import numpy as np
import pytest
import torch
import yaml
from authors_files import (
    V2,
    da3_planes,
    da3metric_file,
    depth_anything,
    make_da3metric,
)
from safetensors.torch import load_file
from test_adapters import SIZES
from tiny_networks import smooth_image

from depthrefl_ros.conversion.adapters import baked_positions
from depthrefl_ros.conversion.checkpoint_folder import load_model, read_folder
from depthrefl_ros.conversion.da3metric import Da3MetricAdapter, is_sky, keep_authors_positions
from depthrefl_ros.conversion.families import read_recipes
from depthrefl_ros.conversion.original_files import write_folder
from depthrefl_ros.engine.bundle import Bundle
from depthrefl_ros.engine.openvino_engine import OpenVinoEngine
from depthrefl_ros.estimator import DepthEstimator
from depthrefl_ros.geometry.camera import Camera

pytestmark = pytest.mark.usefixtures("one_torch_thread")


def test_da3metric_gives_what_the_public_parts_give_at_three_sizes(tmp_path):
    model = depth_anything(V2)
    path, sky = da3metric_file(model, tmp_path)
    keep_authors_positions(model)
    folder = tmp_path / "folder"
    folder.mkdir()
    name = write_folder(path, folder)
    found = read_folder(folder)
    (recipe,) = read_recipes(found.config, found.processor, name)
    assert (recipe.meaning.kind, recipe.meaning.focal_px) == ("canonical", 300.0)
    tensors = load_file(folder / "model.safetensors")
    head = {key: value for key, value in tensors.items() if is_sky(key)}
    adapter = Da3MetricAdapter(load_model(found, recipe, but=head), head).eval()
    keep_authors_positions(adapter.model)
    for size in SIZES[14]:
        image = smooth_image(*size)
        planes = da3_planes(model, sky, image)
        with torch.no_grad(), baked_positions(adapter, *size):
            depth, far = adapter(image)
        torch.testing.assert_close(depth, planes[0], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(far, planes[1], rtol=1e-4, atol=1e-4)
        assert far.std() > 0.01 and depth.std() > 0.05


def test_metres_without_the_division_by_300_fail_parity(tmp_path):
    """DA3's metres are its output times the focal length at its input over 300."""
    one = make_da3metric(tmp_path)
    image = one.bundle.golden().images[0]
    height, width = image.shape[:2]
    camera = Camera.pinhole(width, height, 140.0, 140.0, (width - 1) / 2, (height - 1) / 2)
    planes = one.planes(image[None])
    truth = planes["depth"][0, 0] * np.float32(140.0 / 300.0)
    is_solid = planes["sky"][0, 0] < 0.4

    def error(folder):
        bundle = Bundle.load(str(folder))
        frame = DepthEstimator(OpenVinoEngine(bundle), bundle).estimate(image, camera)
        return np.abs(frame.ungated_m - truth)[is_solid] / truth[is_solid].clip(1e-2)

    assert error(one.bundle.folder).max() < 1e-3
    wrong = shutil.copytree(one.bundle.folder, tmp_path / "wrong")
    for said in ({"kind": "metric"}, {"focal_px": 1000.0}):
        content = yaml.safe_load((one.bundle.folder / "model.yaml").read_text()) | said
        content = {k: v for k, v in content.items() if k != "focal_px" or "kind" not in said}
        (wrong / "model.yaml").write_text(yaml.safe_dump(content))
        assert np.median(error(wrong)) > 0.5


def test_authors_positions_are_near_the_public_ones_and_are_baked():
    model = depth_anything(V2)
    image = smooth_image(84, 112)
    with torch.no_grad():
        public = model(pixel_values=image).predicted_depth
        keep_authors_positions(model)
        own = model(pixel_values=image).predicted_depth
        difference = (own - public).abs().max() / public.abs().max()
        assert 1e-5 < difference < 0.2
        with baked_positions(model_adapter(model), 84, 112):
            torch.testing.assert_close(model(pixel_values=image).predicted_depth, own)
        torch.testing.assert_close(model(pixel_values=image).predicted_depth, own)


def model_adapter(model):
    class Adapter(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, image):
            return self.model(pixel_values=image).predicted_depth

    return Adapter()
