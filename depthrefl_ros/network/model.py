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

"""The whole network: an image becomes canonical metric depth, its sigma, and relative depth."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple

from torch import Tensor, nn

from depthrefl_ros.network.backbone import NO_HINTS, Backbone, BackboneFeatures
from depthrefl_ros.network.dinov2 import DinoV2Backbone, DinoV2Config
from depthrefl_ros.network.efficientnet import EfficientNetLiteBackbone, EfficientNetLiteConfig
from depthrefl_ros.network.error_head import ErrorHead
from depthrefl_ros.network.mount import Hints, MountHints
from depthrefl_ros.network.ops import enlarge
from depthrefl_ros.network.reflector import Reflector, ReflectorConfig

_BACKBONES = {EfficientNetLiteConfig: EfficientNetLiteBackbone, DinoV2Config: DinoV2Backbone}
_SWITCHES = ("mount", "error_head")  # of ``ModelConfig``


@dataclass(frozen=True)
class ModelConfig:
    """Everything that a network is built from.

    Depth in the network is canonical: metres as seen by a camera of focal length ``focal_px``
    pixels at network resolution (design: z_c = z f_c / f).

    Attributes:
        backbone: stage 1.
        reflector: stage 2.
        height: of the input image, pixels, a multiple of the backbone's stride.
        width: of the input image, pixels, a multiple of the backbone's stride.
        focal_px: f_c, the canonical focal length in pixels at network resolution.
        z_min_m: nearest canonical depth, metres.
        z_max_m: farthest canonical depth, metres: cap * f_c / f_min over the training cameras.
        mount: whether the network is told where the camera stands, by a fourth plane of its input
            (``geometry.floor_plane``).
        error_head: whether sigma is what was learnt of errors on unseen images, not the bins'.

    Raises:
        ValueError: a size or a range that no network can have.
    """

    backbone: EfficientNetLiteConfig | DinoV2Config = field(default_factory=EfficientNetLiteConfig)
    reflector: ReflectorConfig = field(default_factory=ReflectorConfig)
    height: int = 192
    width: int = 256
    focal_px: float = 240.0
    z_min_m: float = 0.15
    z_max_m: float = 24.0
    mount: bool = False
    error_head: bool = False

    def __post_init__(self) -> None:
        for name in ("height", "width"):
            value = getattr(self, name)
            if value <= 0 or value % self.backbone.stride:
                raise ValueError(
                    f"{name} is {value}; a positive multiple of {self.backbone.stride} is needed"
                )
        if self.focal_px <= 0:
            raise ValueError(f"focal_px is {self.focal_px}; it must be positive")
        if not 0 < self.z_min_m < self.z_max_m:
            raise ValueError(f"need 0 < z_min_m < z_max_m, got {self.z_min_m} and {self.z_max_m}")
        for name in _SWITCHES:
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} is {getattr(self, name)!r}; true or false is needed")
        if self.mount and not self.backbone.takes_hints:
            raise ValueError(
                f"mount is True; encoder {self.backbone.encoder} cannot be told it, an "
                "EfficientNet-Lite is needed"
            )

    @property
    def channels(self) -> int:
        """Of the input: red, green, blue, and perhaps the mount's plane."""
        return 4 if self.mount else 3

    def to_dict(self) -> dict[str, Any]:
        """Return plain values only, fit for YAML; switches are told only where they are on."""
        plain = asdict(self)
        for name in _SWITCHES:
            if not plain[name]:  # as files are that were written before there was one
                del plain[name]
        for part in (plain["backbone"], plain["reflector"]):
            part.update({name: list(v) for name, v in part.items() if isinstance(v, tuple)})
        return plain

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> ModelConfig:
        """Return the config that ``to_dict`` told.

        Raises:
            ValueError: a field is unknown or its value is out of range.
        """
        try:
            is_dinov2 = str(plain["backbone"].get("encoder")).startswith("dinov2")
            backbone = DinoV2Config if is_dinov2 else EfficientNetLiteConfig
            return cls(
                **{
                    **plain,
                    "backbone": backbone(**plain["backbone"]),
                    "reflector": ReflectorConfig(**plain["reflector"]),
                }
            )
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"architecture cannot be read: {error}") from error


class DepthOutput(NamedTuple):
    """What the network returns.

    Attributes:
        depth: (N, 1, H, W) canonical metres.
        sigma: (N, 1, H, W) standard deviation of log depth.
        relative: (N, 1, H, W) in (0, 1), near to far, ordinal only.
        centres: (N, K, H/4, W/4) bin centres, canonical metres, ascending; without the floor's.
        log_q: (N, K, H/4, W/4) log-probability of each of them.
    """

    depth: Tensor
    sigma: Tensor
    relative: Tensor
    centres: Tensor
    log_q: Tensor


class DepthModel(nn.Module):
    """Backbone and reflector, what tells them the mount, and what knows their errors."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        self.backbone: Backbone = _BACKBONES[type(config.backbone)](config.backbone)
        self.reflector = Reflector(
            config.reflector,
            self.backbone.bottleneck_channels,
            self.backbone.block_channels,
            self.backbone.head_channels,
            near=config.z_min_m / config.z_max_m,
        )
        self.mount: MountHints | None = None
        if config.mount:
            channels = (self.backbone.bottleneck_channels, *self.backbone.block_channels)
            self.mount = MountHints(
                channels, config.reflector.embedding, self.reflector.condition_channels
            )
        self.error_head: ErrorHead | None = None
        if config.error_head:
            self.add_error_head()

    def add_error_head(self) -> None:
        """Give the network an error head, yet to be fitted, in place of any it has."""
        self.config = replace(self.config, error_head=True)
        self.error_head = ErrorHead(
            self.reflector.condition_channels, self.backbone.bottleneck_channels
        )

    def remove_error_head(self) -> None:
        """Take the error head away: sigma is the bins' again."""
        self.config = replace(self.config, error_head=False)
        self.error_head = None

    def forward(self, image: Tensor) -> DepthOutput:
        """Map an image to ``DepthOutput`` in float32.

        Args:
            image: (N, channels, H, W) in 0..255, of the parameters' type: RGB, and the mount's
                plane where the network takes it, all 0 for an unknown mount.
        """
        if self.mount is None:
            return self.read_out(self.backbone(self.backbone.normalise(image)), image)
        image, plane = image[:, :3], image[:, 3:]
        hints = self.mount(plane)
        features = self.backbone(self.backbone.normalise(image), hints.deep)
        return self.read_out(features, image, hints)

    def read_out(
        self, features: BackboneFeatures, like: Tensor, hints: Hints | None = None
    ) -> DepthOutput:
        """Map the backbone's features to ``DepthOutput`` with planes of the size of ``like``.

        Args:
            features: of the backbone.
            like: (N, ., H, W).
            hints: of the mount, where the features were given them.
        """
        metric = self.reflector(features, NO_HINTS if hints is None else hints.shallow)
        depth, sigma = metric.depth * self.config.z_max_m, metric.sigma
        if hints is not None:
            depth, sigma = self.mount.floor(metric.condition, depth, sigma, hints)
        if self.error_head is not None:
            sigma = self.error_head(metric.condition, features.bottleneck)
        return DepthOutput(
            depth=enlarge(depth, like),
            sigma=enlarge(sigma, like),
            relative=enlarge(features.relative.float(), like),
            centres=metric.centres * self.config.z_max_m,
            log_q=metric.log_probabilities,
        )

    def relative_only(self, image: Tensor) -> Tensor:
        """Map (N, 3 or more, H, W) RGB in 0..255 to relative depth (N, 1, H, W) in (0, 1).

        By stage 1 alone, which is not told the mount.
        """
        image = image[:, :3]
        return enlarge(self.backbone(self.backbone.normalise(image)).relative.float(), image)


def create_model(config: ModelConfig) -> DepthModel:
    """Return a network with random weights (see ``checkpoints`` for trained ones)."""
    return DepthModel(config)
