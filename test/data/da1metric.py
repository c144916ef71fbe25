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

"""Makes da1metric.npz: what Depth Anything V1 metric's authors' own code gives, on a small scale.

Weights and pictures are drawn by fixed rules, so that only depth is kept. It needs a checkout of
the authors' repository (github.com/LiheYoung/Depth-Anything, commit 1d03336) and torchvision:

    python test/data/da1metric.py ../Depth-Anything
"""

import functools
import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from authors_files import DA1_BINS, drawn_picture, drawn_tensor  # noqa: E402
from test_adapters import SIZES  # noqa: E402


def main() -> None:
    """Write the file beside this one."""
    folder = Path(sys.argv[1])
    sys.path[:0] = [
        str(folder / "metric_depth"), str(folder / "torchhub" / "facebookresearch_dinov2_main")
    ]  # fmt: skip
    depths = {}
    for domain, (bins, reach) in DA1_BINS.items():
        for height, width in SIZES[14]:
            network = build(bins, reach, (height, width))
            with torch.no_grad():
                depth = network.infer(drawn_picture(height, width), with_flip_aug=False)
            depths[f"{domain}_{height}x{width}"] = depth.numpy()[0, 0, ::2, ::2]
    np.savez_compressed(Path(__file__).with_name("da1metric.npz"), **depths)


def build(bins: str, reach: float, size: tuple[int, int]) -> torch.nn.Module:
    """Return the authors' network with the sizes of ``authors_files.ZoeOnDepthAnything``.

    Args:
        bins: ``softplus`` or ``normed``.
        reach: of normed bins, metres.
        size: (height, width) that the network stretches every picture to, pixels.
    """
    import vision_transformer
    from zoedepth.models.base_models import depth_anything
    from zoedepth.models.base_models.dpt_dinov2 import dpt
    from zoedepth.models.zoedepth.zoedepth_v1 import ZoeDepth

    encoder = vision_transformer.DinoVisionTransformer(
        img_size=70, patch_size=14, embed_dim=64, depth=12, num_heads=1, mlp_ratio=2,
        init_values=1.0, block_chunks=0,
        block_fn=functools.partial(
            vision_transformer.Block, attn_class=vision_transformer.MemEffAttention
        ),
    )  # fmt: skip
    torch.hub.load = lambda *args, **kwargs: encoder
    core = depth_anything.DepthAnythingCore(
        dpt.DPT_DINOv2(features=16, out_channels=[8, 12, 16, 24]),
        img_size=list(size), keep_aspect_ratio=False,
    )  # fmt: skip
    core.output_channels = [16] * 5
    # The values of their config_zoedepth.json, but for fewer bins and attractors.
    network = ZoeDepth(
        core, n_bins=8, bin_centers_type=bins, max_depth=reach, n_attractors=[4, 3, 2, 1],
        attractor_alpha=1000, attractor_kind="mean", attractor_type="inv", min_temp=0.0212,
    )  # fmt: skip
    network.load_state_dict(
        {
            name: value if "log_binomial_transform" in name else drawn_tensor(name, value.shape)
            for name, value in network.state_dict().items()
        }
    )
    return network.eval()


if __name__ == "__main__":
    main()
