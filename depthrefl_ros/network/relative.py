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

"""The relative head: the finest decoder block becomes an ordinal depth in (0, 1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class RelativeHead(nn.Module):
    """Relative depth, near to far, known up to a monotone map.

    The sigmoid of a logit, not a per-image min-max, which would flicker from frame to frame.
    """

    def __init__(self, inputs: int, channels: int):
        super().__init__()
        self.feature = nn.Conv2d(inputs, channels, 3, padding=1)
        self.logit = nn.Conv2d(channels, 1, 1)

    def forward(self, block: Tensor) -> tuple[Tensor, Tensor]:
        """Map (N, inputs, h, w) to the feature (N, channels, h, w) and relative (N, 1, h, w)."""
        feature = functional.relu(self.feature(block))
        return feature, torch.sigmoid(self.logit(feature))
