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

"""The engines agree with each other and with a neutral judge, on the shipped weights."""

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnxruntime
import pytest
from conftest import ROOT
from exact_bundle import exact_bundle
from told_bundle import told_bundle

from depthrefl_ros.engine.base import EngineError, EngineMissingError
from depthrefl_ros.engine.bundle import Bundle
from depthrefl_ros.engine.openvino_engine import OpenVinoEngine, _our_name, openvino_core
from depthrefl_ros.engine.self_test import TOLERANCES, relative_difference, self_test
from depthrefl_ros.engine.torch_engine import TorchEngine
from depthrefl_ros.geometry.camera import Camera


def run_onnx(path, images):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    rows = [session.run(names, {"images": image[None]}) for image in images]
    return {n: np.concatenate([row[i] for row in rows]) for i, n in enumerate(names)}


@pytest.mark.parametrize("name", ["openvino", "torch"])
def test_engines_agree_with_onnx_runtime_on_the_shipped_file(bundle, engines, name):
    images = bundle.golden().images
    judge = run_onnx(bundle.path("model.onnx"), images)
    found = engines[name].infer(images)
    assert found.keys() == judge.keys() == {"depth", "sigma", "relative"}
    for plane in ("depth", "sigma"):
        median, p99 = relative_difference(found[plane], judge[plane])
        assert median < 0.001 and p99 < 0.005, plane
    np.testing.assert_allclose(found["relative"], judge["relative"], atol=1e-3)


def test_the_half_precision_file_is_close(bundle):
    golden = bundle.golden()
    found = run_onnx(bundle.path("model_fp16.onnx"), golden.images[:2])
    for plane in ("depth", "sigma"):
        median, p99 = relative_difference(found[plane], getattr(golden, plane)[:2])
        assert median < TOLERANCES["fp16"][0] and p99 < TOLERANCES["fp16"][1], plane


@pytest.mark.parametrize(
    "change", [lambda images: images[..., 0], lambda images: images[:, 1:], np.float32]
)
def test_other_shapes_and_types_are_refused(bundle, engines, change):
    needed = rf"\(N, {bundle.height}, {bundle.width}, {bundle.channels}\) uint8"
    with pytest.raises(ValueError, match=needed):
        engines["openvino"].infer(change(bundle.golden().images[:1]))


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    return told_bundle(tmp_path_factory.mktemp("models") / "told")


@pytest.mark.parametrize("kind", [OpenVinoEngine, TorchEngine])
def test_a_network_that_takes_the_mount_is_told_it_by_the_fourth_plane(told, kind):
    engine = kind(told)
    assert engine.channels == 4
    self_test(engine, told)
    golden = told.golden()
    blind = golden.images.copy()
    blind[..., 3] = 0
    found, untold = engine.infer(golden.images)["depth"], engine.infer(blind)["depth"]
    is_told = golden.images[..., 3].any(axis=(1, 2))
    for image, (with_mount, without) in enumerate(zip(found, untold, strict=True)):
        is_same = np.allclose(with_mount, without, rtol=1e-3)
        assert is_same is not is_told[image], image
    needed = r"\(1, 64, 64, 3\) uint8; \(N, 64, 64, 4\) uint8 is needed"
    with pytest.raises(ValueError, match=needed):
        engine.infer(golden.images[:1, ..., :3])
    engine.close()


def test_a_graph_of_other_channels_than_the_bundle_says_is_named(tmp_path):
    camera = Camera.from_horizontal_fov(64, 48, 1.1)
    told, plain = (exact_bundle(tmp_path / f"{trust}", camera, trust=trust) for trust in (1, None))
    wrong = Bundle.load(str(told))
    shutil.copy(plain / "model.onnx", told)
    with pytest.raises(EngineError, match=r"model.onnx takes images of 3 channels; .* says 4"):
        OpenVinoEngine(wrong)


def test_results_are_not_overwritten_by_the_next_frame(bundle, engines):
    images = bundle.golden().images
    first = engines["openvino"].infer(images[:1])["depth"]
    kept = first.copy()
    engines["openvino"].infer(images[1:2])
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize("name", ["openvino", "torch"])
def test_calls_from_several_threads_take_turns(bundle, engines, name):
    images = bundle.golden().images[:3]
    alone = [engines[name].infer(image[None])["depth"] for image in images]

    def calls(place):
        return [engines[name].infer(images[place][None])["depth"] for _ in range(8)]

    with ThreadPoolExecutor(len(images)) as pool:
        for found, expected in zip(pool.map(calls, range(len(images))), alone, strict=True):
            for depth in found:
                np.testing.assert_allclose(depth, expected, rtol=1e-4)


def test_a_bundle_of_links_runs(bundle, engines, tmp_path):
    folder = tmp_path / "model"  # as package managers and build tools install files
    shutil.copytree(bundle.folder, folder, copy_function=os.symlink)
    images = bundle.golden().images[:1]
    found = OpenVinoEngine(Bundle.load(str(folder))).infer(images)["depth"]
    np.testing.assert_array_equal(found, engines["openvino"].infer(images)["depth"])


def test_an_onnx_file_that_does_not_compile_is_named(bundle, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(bundle.folder, folder)
    broken = Bundle.load(str(folder))
    (folder / "model.onnx").write_bytes(b"not a network")
    with pytest.raises(EngineError, match="model.onnx"):
        OpenVinoEngine(broken)


def test_weights_that_do_not_fit_are_named(bundle, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(bundle.folder, folder)
    broken = Bundle.load(str(folder))
    (folder / "model.safetensors").write_bytes(b"\0" * 64)
    with pytest.raises(EngineError, match="model.safetensors"):
        TorchEngine(broken)


def test_a_precision_that_the_device_lacks_is_named(bundle):
    with pytest.raises(EngineError, match="CPU does not compute in fp8, only .*FP32"):
        OpenVinoEngine(bundle, precision="fp8")


@pytest.mark.parametrize(
    "device, hint", [("GPU.3", "Intel GPUs and NPUs need their driver"), ("NPU", "driver")]
)
def test_a_device_that_openvino_does_not_find_is_named(bundle, device, hint):
    if device in openvino_core().available_devices:
        pytest.skip(f"this machine has {device}")
    with pytest.raises(
        EngineMissingError, match=f"'{device}'; OpenVINO finds CPU.* here; .*{hint}"
    ):
        OpenVinoEngine(bundle, device=device)


def test_openvino_may_choose_the_device(bundle, engines):
    engine = OpenVinoEngine(bundle, device="AUTO")
    assert engine.device.startswith("AUTO: ")
    images = bundle.golden().images[:1]
    found, expected = (one.infer(images)["depth"] for one in (engine, engines["openvino"]))
    assert relative_difference(found, expected)[1] < 0.005


def test_precisions_of_layers_are_called_as_ours_are(engines):
    layers = engines["openvino"].layers()
    assert layers["fp32"] > 50 and "f32" not in layers
    ours = {"f32": "fp32", "f16": "fp16", "bf16": "bf16", "i8": "i8"}
    assert {name: _our_name(name) for name in ours} == ours


def test_openvino_in_bf16_where_the_device_has_it(bundle, engines):
    if "BF16" not in openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this processor does not compute in bf16")
    engine = OpenVinoEngine(bundle, precision="bf16")
    images = bundle.golden().images[:1]
    found, exact = engine.infer(images)["depth"], engines["openvino"].infer(images)["depth"]
    median, _ = relative_difference(found, exact)
    assert engine.layers()["bf16"] > 10
    assert 1e-5 < median < 0.05  # another arithmetic, the same network


CLOSED_IN_ANOTHER_ORDER = """
import gc, os, signal, threading
from depthrefl_ros.engine.bundle import Bundle
from depthrefl_ros.engine.openvino_engine import OpenVinoEngine

engines = [OpenVinoEngine(Bundle.load("indoor_nano")) for _ in range(2)]
engines.pop(0).close()
gc.collect()
closing = threading.Thread(target=lambda: engines.pop().close())
closing.start()
closing.join()
gc.collect()
came = []
signal.signal(signal.SIGUSR1, lambda *_: came.append(1))
os.kill(os.getpid(), signal.SIGUSR1)
assert came
"""


def test_engines_that_come_and_go_leave_signals_alone():
    """A thread whose stack for signals is unmapped dies of its next signal."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    # faulthandler gives the main thread such a stack, as pytest does.
    command = [sys.executable, "-X", "faulthandler", "-c", CLOSED_IN_ANOTHER_ORDER]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, (done.returncode, done.stderr)


HOMELESS = """
import os, pwd
def nobody(uid):
    raise KeyError(uid)
pwd.getpwuid = nobody
from depthrefl_ros.engine.openvino_engine import load_openvino
print(load_openvino().Core().available_devices, os.environ.get("HOME"))
"""


@pytest.mark.parametrize("home", [None, "/proc/self"])
def test_openvino_is_loaded_for_a_user_without_a_home_that_can_be_written(home):
    environment = {name: value for name, value in os.environ.items() if name != "HOME"}
    environment |= {"HOME": home} if home else {}
    command = [sys.executable, "-c", HOMELESS]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == ""
    assert "CPU" in done.stdout and done.stdout.strip().endswith(str(home))
