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

"""How long an engine takes for the whole network with each head, side by side."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
from torch import nn

THREADS = 2
ROUNDS = 60
WARM_UP = 5


def time_engines(models: dict[str, nn.Module]) -> dict[str, float]:
    """Return median milliseconds of one image in OpenVINO, float32, two threads, by name.

    The networks take turns, so that whatever else slows the machine slows all alike.

    Args:
        models: by name; each has what ``engine.export.export_onnx`` needs.
    """
    from depthrefl_ros.engine.export import export_onnx
    from depthrefl_ros.engine.openvino_engine import openvino_core

    core = openvino_core()
    settings = {
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": str(THREADS),
    }
    requests = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, model in models.items():
            path = Path(folder) / f"{name}.onnx"
            export_onnx(model, path)
            compiled = core.compile_model(core.read_model(path), "CPU", settings)
            requests[name] = compiled.create_infer_request()
    config = next(iter(models.values())).config
    generator = np.random.default_rng(0)
    shape = (1, config.height, config.width, config.channels)
    image = generator.integers(0, 256, shape, dtype=np.uint8)
    seconds: dict[str, list[float]] = {name: [] for name in models}
    for round_number in range(WARM_UP + ROUNDS):
        for name, request in requests.items():
            start = time.perf_counter()
            request.infer([image], share_inputs=True)
            if round_number >= WARM_UP:
                seconds[name].append(time.perf_counter() - start)
    return {name: 1000.0 * float(np.median(values)) for name, values in seconds.items()}
