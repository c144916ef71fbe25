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

"""The EfficientNet-Lite backbone: shapes, strides, padding, normalisation of public weights."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from depthrefl_ros.network.efficientnet import (
    EfficientNetLite,
    EfficientNetLiteBackbone,
    EfficientNetLiteConfig,
    SameConv2d,
)


def test_features_have_the_promised_strides_and_channels():
    backbone = EfficientNetLiteBackbone(EfficientNetLiteConfig()).eval()
    with torch.no_grad():
        features = backbone(torch.zeros(1, 3, 64, 96))
    assert features.bottleneck.shape == (1, backbone.bottleneck_channels, 2, 3)
    levels = ((160, 32), (128, 16), (96, 8), (64, 4))
    expected = [(1, channels, 64 // stride, 96 // stride) for channels, stride in levels]
    assert [tuple(block.shape) for block in features.blocks] == expected
    assert features.head.shape == (1, 32, 16, 24)
    assert features.relative.shape == (1, 1, 16, 24)
    assert ((features.relative > 0) & (features.relative < 1)).all()


@pytest.mark.parametrize("encoder, millions", [("lite0", 3.0), ("lite1", 3.7), ("lite2", 4.3)])
def test_encoder_sizes(encoder, millions):
    # The published sizes (4.7, 5.4, 6.1 M) less their 1.69 to 1.7 M classifier.
    count = sum(p.numel() for p in EfficientNetLite(encoder).parameters()) / 1e6
    assert count == pytest.approx(millions, abs=0.15)


@pytest.mark.parametrize("size, kernel, stride", [(8, 3, 2), (9, 3, 2), (8, 5, 2), (7, 5, 1)])
def test_same_padding_is_tensorflows(size, kernel, stride):
    torch.manual_seed(0)
    conv = SameConv2d(1, 1, kernel, stride=stride, bias=False)
    row = torch.randn(1, 1, 1, size)
    with torch.no_grad():
        conv.weight[:, :, torch.arange(kernel) != kernel // 2] = 0
        found = conv(row.expand(1, 1, size, size))[0, 0, 0]
    # TensorFlow: ceil(size / stride) outputs, the odd pixel of padding behind.
    outputs = -(-size // stride)
    total = max((outputs - 1) * stride + kernel - size, 0)
    padded = functional.pad(row[0, 0, 0], (total // 2, total - total // 2))
    taps = conv.weight[0, 0, kernel // 2]
    expected = torch.stack([padded[i * stride :][:kernel] @ taps for i in range(outputs)])
    torch.testing.assert_close(found, expected)


def test_normalise_is_the_published_one():
    torch.testing.assert_close(
        EfficientNetLiteBackbone.normalise(torch.tensor([0.0, 127.0, 255.0])),
        torch.tensor([-127 / 128, 0.0, 1.0]),
    )


@pytest.mark.parametrize(
    "changes, named",
    [
        ({"encoder": "b7"}, "'b7'"),
        ({"decoder_channels": (1, 2)}, "four levels"),
        ({"head_channels": 0}, "positive"),
    ],
)
def test_a_bad_config_names_the_value(changes, named):
    with pytest.raises(ValueError, match=named):
        EfficientNetLiteConfig(**changes)


def test_relative_depth_does_not_depend_on_the_rest_of_the_batch():
    backbone = EfficientNetLiteBackbone(EfficientNetLiteConfig()).eval()
    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.normal(size=(2, 3, 64, 64)).astype(np.float32))
    with torch.no_grad():
        both, alone = backbone(images).relative[:1], backbone(images[:1]).relative
    torch.testing.assert_close(both, alone, rtol=1e-4, atol=1e-5)
