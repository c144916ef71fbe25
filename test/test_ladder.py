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

"""Which engines are tried in which order, and on which device."""

import pytest

from depthrefl_ros.engine.ladder import rungs
from depthrefl_ros.settings import SettingError


def names(*arguments):
    return [rung.name for rung in rungs(*arguments)]


CUDA_1 = ["tensorrt on cuda:1", "tensorrt_rtx on cuda:1", "torch on cuda:1"]


@pytest.mark.parametrize(
    "kind, expected",
    [
        ("tensorrt", ["tensorrt", "tensorrt_rtx", "torch on CUDA", "openvino", "torch on CPU"]),
        ("tensorrt_rtx", ["tensorrt_rtx", "torch on CUDA", "openvino", "torch on CPU"]),
        ("openvino", ["openvino", "torch on CPU"]),
        ("torch", ["torch on CUDA", "torch on CPU", "openvino"]),
        ("auto", ["tensorrt", "tensorrt_rtx", "torch on CUDA", "openvino", "torch on CPU"]),
    ],
)
def test_the_one_asked_for_comes_first_and_each_once(kind, expected):
    assert names(kind, "", True) == expected


@pytest.mark.parametrize(
    "kind, device, expected",
    [
        ("auto", "1", CUDA_1),
        ("auto", "cuda:1", CUDA_1),
        ("auto", "cuda", ["tensorrt", "tensorrt_rtx", "torch on CUDA"]),
        ("auto", "cpu", ["openvino", "torch on CPU"]),
        ("auto", "GPU.1", ["openvino on GPU.1"]),
        ("tensorrt", "CUDA:2", ["tensorrt on cuda:2"]),
        ("torch", "0", ["torch on CUDA"]),
        ("torch", "CPU", ["torch on CPU"]),
        ("openvino", "npu", ["openvino on NPU"]),
        ("openvino", "AUTO", ["openvino on AUTO"]),
    ],
)
def test_a_device_leaves_the_engines_that_know_it(kind, device, expected):
    assert names(kind, device) == expected


@pytest.mark.parametrize(
    "kind, device, later",
    [
        ("openvino", "GPU", ["openvino", "torch on CPU"]),
        ("torch", "cpu", ["openvino"]),  # not CUDA: who asks for the CPU leaves the GPU to others
        ("auto", "cpu", []),
        ("auto", "NPU", ["openvino", "torch on CPU"]),
        (
            "tensorrt",
            "1",
            ["tensorrt", "tensorrt_rtx", "torch on CUDA", "openvino", "torch on CPU"],
        ),
    ],
)
def test_what_falls_back_runs_on_its_own_device(kind, device, later):
    wanted = names(kind, device)
    assert names(kind, device, True) == [*wanted, *later]


@pytest.mark.parametrize(
    "kind, device, words",
    [
        ("auto", "abacus", "device is 'abacus'; known are the index of a CUDA GPU"),
        ("auto", "-1", "device is '-1'"),
        ("auto", "GPU.x", "device is 'GPU.x'"),
        ("openvino", "cuda:1", "device is 'cuda:1'; engine openvino takes CPU, GPU, GPU.1, NPU"),
        ("tensorrt", "GPU.1", "device is 'GPU.1'; engine tensorrt takes the index of a CUDA GPU$"),
        ("torch", "NPU", "engine torch takes the index of a CUDA GPU or CPU"),
    ],
)
def test_a_device_that_an_engine_does_not_know_is_named(kind, device, words):
    with pytest.raises(SettingError, match=words):
        names(kind, device)
