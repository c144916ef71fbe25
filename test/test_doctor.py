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

"""The doctor on this machine, and in environments where things are missing or broken."""

import json
import os
import shutil
import subprocess
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

import numpy as np
import pytest
from bundle_copies import copy_bundle

from depthrefl_ros.engine import selection
from depthrefl_ros.engine.bundle import Bundle
from depthrefl_ros.engine.tensorrt import api, run
from depthrefl_ros.engine.tensorrt import cuda as cuda_module
from depthrefl_ros.engine.tensorrt.plan import plan_key
from depthrefl_ros.engine.tensorrt.store import PlanStore
from depthrefl_ros.tools import doctor, machine, machine_ros

NAMES = {
    "processor",
    "libraries",
    "GPU",
    "tensorrt",
    "tensorrt_rtx",
    "torch",
    "openvino",
    "engine cache",
    "models",
    "ROS",
    "large clouds",
    "cv_bridge",
}


def run_doctor(folder, *arguments: str, missing=(), broken=(), modules=None, **variables: str):
    """Output and JSON of the real tool.

    ``missing`` packages are not installed for it, importing ``broken`` ones fails, and ``modules``
    have the code that is given.
    """
    shadows = folder / "shadows"
    shadows.mkdir()
    # Python runs it at every start; None in sys.modules hides a package from find_spec as well.
    hide = f"import sys\nsys.modules.update(dict.fromkeys({list(missing)}))\n"
    (shadows / "sitecustomize.py").write_text(hide)
    for name in broken:
        (shadows / f"{name}.py").write_text(f"raise ImportError('{name} is broken here')\n")
    for name, text in (modules or {}).items():
        (shadows / f"{name}.py").write_text(text)
    report = folder / "doctor.json"
    done = subprocess.run(
        [sys.executable, "-m", "depthrefl_ros.tools.doctor", "--json", str(report), *arguments],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(shadows), *sys.path]),
            "XDG_CACHE_HOME": str(folder / "cache"),
            **variables,
        },
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "Traceback" not in done.stdout + done.stderr
    figures = json.loads(report.read_text())
    found = {one["name"]: one for one in figures["findings"]}
    assert set(found) == NAMES
    return done, found, figures["auto"]


def test_here_it_finds_everything_and_lets_auto_choose(tmp_path):
    done, found, auto = run_doctor(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {one["state"] for one in found.values()} <= {"ok", "missing", "warning", "error"}
    assert found["libraries"]["facts"]["numpy"] == np.__version__
    assert found["processor"]["facts"]["cores"] == len(os.sched_getaffinity(0))
    tiny = Bundle.load("indoor_tiny")
    assert f"indoor_tiny {tiny.width}x{tiny.height}" in found["models"]["text"]
    shipped = {one["name"]: one for one in found["models"]["facts"]["models"]}
    assert shipped["indoor_tiny"] == auto["model"]
    assert auto["model"]["licence"] == tiny.licence
    assert auto["model"]["range_m"] == [tiny.min_range_m, tiny.max_range_m]
    told = f", int8 on OpenVINO and TensorRT if asked for: {tiny.licence} "
    told += f"(commercial use: no); {tiny.origin}"
    assert not shipped["indoor_nano"]["has_int8"] and "int8" not in auto["steps"][-1]
    assert told in " ".join(done.stdout.split()) and auto["model"]["sources"] == tiny.sources
    assert found["engine cache"]["facts"]["folder"].startswith(str(tmp_path))
    assert auto["can_run"] and auto["engine"] in auto["says"]
    assert "chosen" in auto["steps"][-1] and "self-test" in auto["steps"][-1]
    for name in NAMES:
        assert name in done.stdout
    for step in auto["steps"]:
        assert step.split()[0] in done.stdout


@pytest.mark.parametrize("said", ["yes", "no", "unknown", None])
def test_the_terms_of_a_model_are_told_whatever_they_are(tmp_path, said):
    """YAML's bare yes and no are words."""
    folder = copy_bundle(tmp_path / "mine", {}).folder
    path = folder / "model.yaml"
    text = path.read_text()
    field = "" if said is None else f"commercial: {said}\n"
    assert text.count("commercial: 'no'\n") == 1
    path.write_text(text.replace("commercial: 'no'\n", field))
    facts = machine.bundle_facts(Bundle.load(str(folder)))
    assert facts["commercial"] == (said or "unknown")
    assert f" (commercial use: {said or 'unknown'}); source: " in doctor._terms(facts)


def test_what_is_missing_is_a_line_each(tmp_path):
    pytest.importorskip("openvino")
    missing = ("torch", "rclpy", "cv_bridge", "cuda", "tensorrt_rtx", "tensorrt")
    done, found, auto = run_doctor(tmp_path, missing=missing, RMW_IMPLEMENTATION="")
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("tensorrt", "tensorrt_rtx", "torch", "ROS", "large clouds", "cv_bridge"):
        assert found[name]["state"] == "missing", found[name]
    assert "the node cannot run without rclpy" in found["ROS"]["text"]
    assert "pip install cuda-python" in found["GPU"]["text"]
    assert auto["engine"] == "openvino"


def test_what_is_broken_is_no_longer_called_missing(tmp_path):
    broken = ("tensorrt", "cv_bridge", "openvino")
    modules = {"tensorrt_rtx": "__version__ = '1.0.0'\n"}
    _, found, _ = run_doctor(tmp_path, broken=broken, modules=modules)
    for name in ("tensorrt", "tensorrt_rtx", "openvino"):
        assert found[name]["state"] == "error", found[name]
    assert "tensorrt is broken here" in found["tensorrt"]["text"]
    assert "is version 1.0.0; 1.2 or later is needed" in found["tensorrt_rtx"]["text"]
    assert found["cv_bridge"]["state"] == "warning"  # the node does without
    assert "cv_bridge is broken here" in found["cv_bridge"]["text"]


def test_it_fails_where_no_engine_runs(tmp_path):
    broken = ("torch", "openvino", "tensorrt_rtx", "tensorrt")
    done, found, auto = run_doctor(tmp_path, broken=broken)
    assert done.returncode == 1
    assert found["openvino"]["state"] == "error"
    assert not auto["can_run"] and "no engine works for model indoor_tiny" in auto["says"]
    assert "openvino is broken here" in auto["says"] and "ERROR auto" in done.stdout


@pytest.mark.parametrize("name, library", [("libraries", "cv2"), ("ROS", "rclpy")])
def test_it_fails_where_the_node_cannot_run(tmp_path, name, library):
    done, found, auto = run_doctor(tmp_path, broken=(library,))
    assert done.returncode == 1
    assert found[name]["state"] == "error" and f"{library} is broken here" in found[name]["text"]
    assert not auto["can_run"]
    assert auto["says"].startswith(f"the node cannot run, {name} must be fixed; ")


def test_a_middleware_that_is_not_installed_is_named(tmp_path):
    pytest.importorskip("rclpy")
    # rcl ends the process: no try can catch that.
    done, found, auto = run_doctor(tmp_path, RMW_IMPLEMENTATION="rmw_nobodys_cpp")
    assert done.returncode == 1 and not auto["can_run"]
    assert found["ROS"]["state"] == "error"
    assert "RMW_IMPLEMENTATION=rmw_nobodys_cpp" in found["ROS"]["text"]
    assert found["large clouds"]["facts"]["rmw"] == "rmw_nobodys_cpp"


def test_without_a_home_the_node_starts_and_it_is_told_where_it_logs(tmp_path):
    pytest.importorskip("rclpy")
    runtime = tmp_path / "run"
    runtime.mkdir()
    done, found, auto = run_doctor(
        tmp_path, HOME="", ROS_LOG_DIR="", ROS_HOME="", XDG_RUNTIME_DIR=str(runtime)
    )
    assert done.returncode == 0 and auto["can_run"], done.stdout + done.stderr
    assert found["ROS"]["state"] == "warning" and "a node starts" in found["ROS"]["text"]
    assert f"HOME is not set: ROS's log files go to {runtime}" in found["ROS"]["text"]
    assert list(runtime.glob("*/log/*.log"))


def test_ros_that_cannot_start_is_an_error(tmp_path):
    pytest.importorskip("rclpy")
    broken = """
from depthrefl_ros.ros import middleware
def prepare_environment():
    raise OSError("ROS can write no log files: set ROS_LOG_DIR")
middleware.prepare_environment = prepare_environment
"""
    hook = f"{broken}import depthrefl_ros.tools.ros_probes as probes, sys\nprint(probes._ros())"
    done = subprocess.run([sys.executable, "-c", hook], capture_output=True, text=True)
    assert "state='error'" in done.stdout
    assert "no node can start: ROS can write no log files: set ROS_LOG_DIR" in done.stdout


def test_a_domain_that_cannot_be_is_an_error(tmp_path):
    pytest.importorskip("rclpy")
    done, found, auto = run_doctor(tmp_path, ROS_DOMAIN_ID="400")
    assert done.returncode == 1 and not auto["can_run"]
    assert found["ROS"]["state"] == "error"
    assert "ROS_DOMAIN_ID is '400'; 0 to 232 are possible" in found["ROS"]["text"]
    assert "RMW_IMPLEMENTATION" not in found["ROS"]["text"] and "\x1b" not in done.stdout


def test_a_cv_bridge_that_crashes_takes_nothing_with_it(tmp_path):
    crash = "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n"
    done, found, _ = run_doctor(tmp_path, modules={"cv_bridge": crash})
    assert done.returncode == 0, done.stdout + done.stderr
    assert found["cv_bridge"]["state"] == "error" and "SIGSEGV" in found["cv_bridge"]["text"]


def test_a_probe_that_hangs_is_an_error(monkeypatch):
    monkeypatch.setattr(machine_ros, "_PROBE_S", 0.01)
    found = machine_ros.probed("cv_bridge")
    assert found.state == "error" and "does not answer within 0.01 s" in found.text


def test_even_without_numpy_it_says_what_is_wrong(tmp_path):
    done, found, auto = run_doctor(tmp_path, broken=("numpy",))
    assert done.returncode == 1
    assert found["processor"]["state"] == "ok"
    assert "numpy is broken here" in found["libraries"]["text"]
    assert not auto["can_run"] and "no engine: numpy is broken here" in auto["says"]


@pytest.mark.parametrize(
    "package, state, named",
    [
        ("tqdm", "warning", "a progress bar and training need tqdm: pip install tqdm"),
        ("yaml", "error", "without PyYAML: pip install pyyaml"),
    ],
)
def test_a_library_that_is_missing_is_named(tmp_path, package, state, named):
    done, found, auto = run_doctor(tmp_path, missing=(package,))
    assert found["libraries"]["state"] == state and named in found["libraries"]["text"]
    assert auto["can_run"] is (state == "warning")
    assert done.returncode == (0 if auto["can_run"] else 1)


def test_a_tensorrt_with_a_known_fault_is_warned_about(tmp_path):
    done, found, _ = run_doctor(tmp_path, modules={"tensorrt": "__version__ = '10.3.0'\n"})
    assert done.returncode == 0
    assert found["tensorrt"]["state"] == "warning"
    assert found["tensorrt"]["facts"]["version"] == "10.3.0"
    assert "DINOv2" in found["tensorrt"]["text"] and "10.14" in found["tensorrt"]["text"]


def test_a_model_that_cannot_be_used_is_told_like_the_rest(tmp_path):
    damaged = shutil.copytree(Bundle.load("indoor_tiny").folder, tmp_path / "damaged")
    with (damaged / "golden.npz").open("r+b") as file:
        file.write(b"nonsense")
    for name, why in ((str(damaged), "golden.npz"), ("outdoor_huge", "outdoor_huge")):
        auto = doctor.choose(name)
        assert not auto["can_run"] and why in auto["says"]
    done, _, auto = run_doctor(tmp_path, "--model", str(damaged))
    assert done.returncode == 1
    assert "golden.npz" in auto["says"] and "ERROR auto" in done.stdout


@pytest.fixture
def tensorrt_machine(monkeypatch, tmp_path):
    """Make this a machine with a GPU and TensorRT, both stood in for, and no other engine."""
    pytest.importorskip("cuda.bindings.runtime", reason="cuda-python is not installed")
    pytest.importorskip("onnxruntime")
    from cuda_stand_in import StandInCuda, StandInTensorRT

    cuda = StandInCuda()
    runtime = StandInTensorRT(cuda, "tensorrt", max_batch=1)
    monkeypatch.setattr(cuda_module, "load_cuda", lambda: cuda)
    log = api.RuntimeLog(runtime)
    for module in (api, run):
        monkeypatch.setattr(module, "load_runtime", lambda name: runtime)
        monkeypatch.setattr(module, "runtime_log", lambda name: log)
    installed = ModuleType("tensorrt")
    installed.__spec__ = ModuleSpec("tensorrt", None)
    monkeypatch.setitem(sys.modules, "tensorrt", installed)
    for name in ("tensorrt_rtx", "openvino", "torch"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(selection, "_NVIDIA_DEVICES", ("/dev/null",))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def test_an_engine_that_is_still_to_be_built_can_run(tensorrt_machine):
    auto = doctor.choose("indoor_tiny")
    assert auto["can_run"] and (auto["engine"], auto["needs_build"]) == ("", "tensorrt")
    assert "build_engine --engine tensorrt --model indoor_tiny" in auto["says"]
    assert auto["says"].endswith("until then nothing runs") and auto["problems"] == []
    assert auto["steps"][0] == "tensorrt: fp16 is not built yet"
    assert PlanStore().entries() == []


def test_beside_one_that_is_to_be_built_another_runs_until_then(tensorrt_machine, monkeypatch):
    monkeypatch.delitem(sys.modules, "openvino")
    pytest.importorskip("openvino")
    auto = doctor.choose("indoor_tiny")
    assert (auto["engine"], auto["needs_build"]) == ("openvino", "tensorrt")
    assert "if that fails, openvino in fp32" in auto["says"]


def test_a_built_engine_is_chosen(tensorrt_machine):
    bundle = Bundle.load("indoor_tiny")
    onnx = pytest.importorskip("onnx")
    # With its weights, which lie beside it: the stand-in computes what it is given.
    plan = onnx.load(bundle.path("model.onnx")).SerializeToString()
    PlanStore().find_or_build(plan_key(bundle, "tensorrt", "fp16"), lambda: plan)
    auto = doctor.choose("indoor_tiny")
    assert (auto["engine"], auto["precision"], auto["needs_build"]) == ("tensorrt", "fp16", "")
    assert auto["device"] == "Stand-in" and "from the cache" in auto["steps"][0]


def gpu() -> machine.Finding:
    return next(one for one in machine.findings() if one.name == "GPU")


def test_a_gpu_without_cuda_python_is_not_called_missing(monkeypatch, tmp_path):
    file = tmp_path / "version"
    monkeypatch.setattr(cuda_module, "_DRIVER_FILE", file)
    monkeypatch.setattr(selection, "_NVIDIA_DEVICES", ())
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    assert gpu().state == "missing"
    file.write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.14  Thu Feb 22\n")
    found = gpu()
    assert found.state == "warning" and found.facts == {"driver": "550.54.14"}
    assert "550.54.14" in found.text and "pip install cuda-python" in found.text
    file.unlink()
    monkeypatch.setattr(selection, "_NVIDIA_DEVICES", ("/dev/null",))  # as on a Jetson
    assert gpu().state == "warning"


def test_a_probe_that_breaks_is_a_finding():
    def broken():
        raise OSError("libfoo.so.1: cannot open shared object file")

    found = machine.guarded("foo", broken)
    assert (found.name, found.state) == ("foo", "error")
    assert "OSError: libfoo.so.1" in found.text
