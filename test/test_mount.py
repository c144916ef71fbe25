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

"""The mount told to the network: the plane's bytes, what they change, and what they do not."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_network import CONFIG, MOUNT_CONFIG, told_network
from torch.nn import functional

from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.floor_plane import camera_floor_depth, encode_floor
from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.network.dinov2 import DinoV2Config
from depthrefl_ros.network.inference import InferenceModel
from depthrefl_ros.network.model import ModelConfig, create_model
from depthrefl_ros.network.mount import MountHints, describe_floor


def seen(height_m: float | None, pitch: float = 0.2) -> torch.Tensor:
    """Return an image (1, 4, 64, 64) with the plane of a mount, or without any."""
    generator = torch.Generator().manual_seed(3)
    image = torch.randint(0, 256, (1, 4, 64, 64), generator=generator).float()
    image[:, 3] = 0
    if height_m is not None:
        camera = Camera.pinhole(64, 64, 60.0, 60.0, 31.5, 31.5)
        depth_m = camera_floor_depth(camera, Pose.from_mount(height_m, pitch))
        image[0, 3] = torch.from_numpy(encode_floor(depth_m))
    return image


def test_the_network_reads_the_bytes_that_geometry_writes():
    depth_m = np.geomspace(0.1, 40.0, 64 * 64).reshape(64, 64)
    depth_m[:10] = 0
    plane = torch.from_numpy(encode_floor(depth_m))[None, None].float()
    channels, is_known = describe_floor(plane)
    log_depth, valid, inverse = channels[0].numpy()
    known = depth_m > 0
    np.testing.assert_array_equal(valid, known)
    assert np.abs(log_depth[known] - np.log(depth_m[known])).max() < 0.012
    np.testing.assert_allclose(inverse[known], 0.5 / np.exp(log_depth[known]), rtol=1e-5)
    assert not log_depth[~known].any() and not inverse[~known].any()
    assert is_known.flatten().tolist() == [1.0]
    # Half precision holds every byte.
    torch.testing.assert_close(describe_floor(plane.half())[0], channels, rtol=0, atol=0)


def test_an_absent_plane_is_exactly_no_hint():
    model = told_network()
    plain = create_model(CONFIG).eval()
    plain.load_state_dict(
        {name: value for name, value in model.state_dict().items() if "mount." not in name}
    )
    image = seen(None)
    with torch.no_grad():
        for told, untold in zip(model(image), plain(image[:, :3]), strict=True):
            assert torch.equal(told, untold)


def test_a_new_branch_changes_next_to_nothing_and_can_learn():
    torch.manual_seed(0)
    model = create_model(MOUNT_CONFIG).eval()
    output, without = model(seen(0.4)), model(seen(None))
    # By the hints nothing; by the floor's bin a fiftieth of the way to the floor.
    way = (seen(0.4)[:, 3:] > 0) * math.log(40.0 / 0.1)
    assert ((output.depth / without.depth).log().abs() <= 0.02 * way + 0.02).all()
    assert torch.equal(output.relative, without.relative)
    output.depth.log().mean().backward()
    branches = (*model.mount.deep, *model.mount.shallow)
    last = [branch[-1].weight.grad for branch in branches] + [model.mount.floor.share.weight.grad]
    assert len(last) == 11 and all(gradient.any() for gradient in last)


def test_what_is_floor_has_the_depth_of_the_plane():
    hints = MountHints((16, 8, 8, 8, 8), 8, 5)
    found = hints(seen(0.4)[:, 3:])
    bin_at_floor, floor = hints.floor, torch.exp(found.log_floor)
    condition = torch.randn(1, 5, 16, 16, generator=torch.Generator().manual_seed(1))
    depth, sigma = torch.full((1, 1, 16, 16), 1.7), torch.full((1, 1, 16, 16), 0.3)
    known = found.has_floor > 0
    assert known.any() and not known.all()
    with torch.no_grad():
        bin_at_floor.share.bias.fill_(30.0)
        certain, sigma_of_certain = bin_at_floor(condition, depth, sigma, found)
        torch.testing.assert_close(certain[known], floor[known])
        torch.testing.assert_close(sigma_of_certain[known], torch.full_like(floor[known], 0.02))
        bin_at_floor.share.bias.fill_(0.0)
        half, sigma_of_half = bin_at_floor(condition, depth, sigma, found)
    torch.testing.assert_close(half[known], torch.sqrt(1.7 * floor[known]))
    # Two equal masses at either depth, each with a spread of its own.
    logs = torch.stack([torch.log(depth), found.log_floor])
    variance = logs.var(dim=0, correction=0) + (0.3**2 + 0.02**2) / 2
    torch.testing.assert_close(sigma_of_half[known], torch.sqrt(variance)[known])
    # Where the plane says nothing, both are as they were.
    for before, after in ((depth, certain), (depth, half), (sigma, sigma_of_half)):
        assert torch.equal(before[~known], after[~known])


def test_a_place_at_the_horizon_has_the_floor_of_its_lower_half():
    plane = torch.zeros(1, 1, 64, 64)
    plane[:, :, 34:] = 100.0
    found = MountHints((16, 8, 8, 8, 8), 8, 5)(plane)
    expected = describe_floor(plane)[0][0, 0, 40, 0]
    assert found.has_floor[0, 0, :, 3].tolist() == [0.0] * 8 + [1.0] * 8
    torch.testing.assert_close(found.log_floor[0, 0, 8:, 3], expected.expand(8))


def test_the_mount_changes_the_depth():
    model = told_network()
    with torch.no_grad():
        low, high, none = (model(seen(height)).depth for height in (0.2, 1.2, None))
    assert (low / high).log().abs().median() > 0.01
    assert (low / none).log().abs().median() > 0.01


def test_one_image_of_a_batch_may_be_told_its_mount():
    model = told_network()
    with torch.no_grad():
        both = model(torch.cat([seen(0.4), seen(None)])).depth
        alone = [model(seen(height)).depth for height in (0.4, None)]
    torch.testing.assert_close(both, torch.cat(alone))


def test_hints_are_of_the_mean_of_what_a_block_sees():
    hints = MountHints((16, 8, 8, 8, 8), 8, 13)
    for branch in (*hints.deep, *hints.shallow):
        torch.nn.init.normal_(branch[-1].weight)
    found = hints(seen(0.4)[:, 3:])
    assert [hint.shape[1:] for hint in found.deep] == [
        (16, 2, 2), (8, 2, 2), (8, 4, 4), (8, 8, 8), (8, 16, 16)
    ]  # fmt: skip
    assert [hint.shape[2] for hint in found.shallow] == [2, 4, 8, 16, 16]
    channels, _ = describe_floor(seen(0.4)[:, 3:])
    expected = hints.deep[2](functional.avg_pool2d(channels, 16))
    torch.testing.assert_close(found.deep[2], expected)


def test_inference_takes_four_bytes_a_pixel():
    model = told_network()
    image = seen(0.4)
    bytes_in = image.permute(0, 2, 3, 1).to(torch.uint8).contiguous()
    with torch.no_grad():
        depth, sigma, relative = InferenceModel(model)(bytes_in)
        expected = model(image)
    torch.testing.assert_close(depth, expected.depth, rtol=5e-3, atol=1e-3)
    torch.testing.assert_close(relative, expected.relative, rtol=5e-3, atol=1e-3)
    assert sigma.shape == depth.shape


def test_stage_1_is_not_told_the_mount():
    model = told_network()
    with torch.no_grad():
        relative = model.relative_only(seen(0.4))
        assert torch.equal(relative, model(seen(None)).relative)
        assert not torch.equal(relative, model(seen(0.4)).relative)


def test_a_config_without_a_mount_is_written_as_before():
    assert "mount" not in CONFIG.to_dict()
    assert ModelConfig.from_dict(CONFIG.to_dict()) == CONFIG
    assert MOUNT_CONFIG.to_dict()["mount"] is True
    assert ModelConfig.from_dict(MOUNT_CONFIG.to_dict()) == MOUNT_CONFIG
    assert (CONFIG.channels, MOUNT_CONFIG.channels) == (3, 4)


def test_a_network_that_cannot_be_told_is_refused():
    with pytest.raises(ValueError, match="mount is True; encoder dinov2_small cannot"):
        ModelConfig(backbone=DinoV2Config(), height=252, width=336, mount=True)
    with pytest.raises(ValueError, match="mount is 'yes'; true or false"):
        replace(CONFIG, mount="yes")
