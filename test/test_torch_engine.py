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

"""The torch engine where there is no GPU: numbers, batches, and what it refuses.

CUDA graphs, fp16 and pinned memory need CUDA; these tests run where there is one and skip else.
"""

import sys
from contextlib import suppress

import numpy as np
import pytest
import torch
from host_tensors import TensorsOfTheHost, noted

from depthrefl_ros.engine.base import EngineError, EngineMissingError
from depthrefl_ros.engine.bundle import Bundle
from depthrefl_ros.engine.self_test import self_test
from depthrefl_ros.engine.torch_engine import TorchEngine
from depthrefl_ros.network.flagship import random_flagship
from depthrefl_ros.network.inference import InferenceModel
from depthrefl_ros.network.model import ModelConfig, create_model

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def test_a_batch_gives_what_its_images_give_alone(bundle):
    engine = TorchEngine(bundle, device="cpu")
    images = bundle.golden().images[:2]
    together = engine.infer(images)
    alone = [engine.infer(image[None]) for image in images]
    for name, plane in together.items():
        parts = np.concatenate([outputs[name] for outputs in alone])
        assert plane.shape == (2, 1, bundle.height, bundle.width) and plane.dtype == np.float32
        # Sigma is a small difference of large numbers, rounded otherwise by each processor.
        np.testing.assert_allclose(plane, parts, rtol=3e-3 if name == "sigma" else 1e-4)


def test_results_are_not_overwritten_by_the_next_frame(bundle):
    engine = TorchEngine(bundle, device="cpu")
    images = bundle.golden().images
    first = engine.infer(images[:1])["depth"]
    kept = first.copy()
    engine.infer(images[1:2])
    np.testing.assert_array_equal(first, kept)


def test_the_profile_names_the_three_parts(bundle):
    seconds = TorchEngine(bundle, threads=1, device="cpu").profile(bundle.golden().images[:1])
    assert list(seconds) == ["upload_s", "compute_s", "download_s"]
    assert seconds["compute_s"] > seconds["upload_s"] > 0


def networks():
    """Return name, network and size of the input of all that gpu_acceptance runs."""
    for name in ("indoor_tiny", "indoor_nano"):
        description = Bundle.load(name).description
        config = ModelConfig.from_dict(description["architecture"])
        size = description["input"]
        yield name, create_model(config), (size["height"], size["width"])
    with suppress(ImportError):  # transformers
        yield "flagship", random_flagship(56, 84), (56, 84)


def test_a_second_batch_takes_nothing_from_the_host(monkeypatch):
    """A CUDA graph cannot capture a copy from the host's memory; no GPU is needed to see one."""
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda _: False)  # no autocast of "meta"
    made = []
    # A tensor of values is made in the host's memory and copied, which no dispatch shows.
    for name in ("tensor", "as_tensor", "scalar_tensor", "from_numpy"):
        monkeypatch.setattr(torch, name, noted(getattr(torch, name), made))
    for name, model, size in networks():
        network = InferenceModel(model).to("meta")
        images = torch.empty(1, *size, model.config.channels, dtype=torch.uint8, device="meta")
        with torch.inference_mode():
            with TensorsOfTheHost() as tensors:
                network(images)
            assert tensors.operations and made, name  # the matrices that resize
            made.clear()
            with TensorsOfTheHost() as tensors:
                network(images)
        assert tensors.operations == made == [], name


@pytest.mark.parametrize("precision, words", [("fp16", "on CUDA only"), ("int8", "int8, only")])
def test_a_precision_that_the_device_does_not_have_is_refused(bundle, precision, words):
    with pytest.raises(EngineError, match=words):
        TorchEngine(bundle, device="cpu", precision=precision)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_missing(bundle):
    for device in ("cuda", "cuda:1"):
        with pytest.raises(EngineMissingError, match=f"'{device}' but torch finds no CUDA device"):
            TorchEngine(bundle, device=device)


def test_a_gpu_beyond_the_last_is_named(bundle, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(EngineMissingError, match="device is 'cuda:2' but torch finds 2 of them"):
        TorchEngine(bundle, device="cuda:2")


def test_a_machine_without_torch_is_told_what_to_install(bundle, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(EngineMissingError, match="pip install torch"):
        TorchEngine(bundle)


@needs_cuda
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("replays", [False, True], ids=["eager", "graph"])
def test_cuda_passes_the_self_test(bundle, precision, replays):
    engine = TorchEngine(bundle, device="cuda", precision=precision, replays=replays)
    assert self_test(engine, bundle).repeat == 0.0
    assert bool(engine._graphs) == replays


@needs_cuda
def test_compiled_cuda_passes_the_self_test(bundle):
    assert self_test(TorchEngine(bundle, device="cuda", precision="fp16", compiles=True), bundle)
