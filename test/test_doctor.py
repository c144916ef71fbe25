"""The doctor on this machine, and in environments where things are missing or broken."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from depthrefl_ros.ros import middleware
from depthrefl_ros.tools import machine, machine_ros

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


def run_doctor(folder, *arguments: str, broken=(), modules=None, **variables: str):
    """Exit code, output and JSON of the real tool; importing ``broken`` fails in it."""
    shadows = folder / "shadows"
    shadows.mkdir()
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
    figures = json.loads(report.read_text()) if report.is_file() else {}
    found = {one["name"]: one for one in figures.get("findings", [])}
    return done, found, figures.get("auto")


def test_here_it_finds_everything_and_lets_auto_choose(tmp_path):
    done, found, auto = run_doctor(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert set(found) == NAMES
    assert {one["state"] for one in found.values()} <= set(machine.STATES)
    assert found["libraries"]["facts"]["numpy"] == np.__version__
    assert found["processor"]["facts"]["cores"] == len(os.sched_getaffinity(0))
    assert "indoor_tiny 256x192" in found["models"]["facts"]["models"]
    assert found["engine cache"]["facts"]["folder"].startswith(str(tmp_path))
    assert auto["can_run"] and auto["engine"] in auto["says"]
    assert "chosen" in auto["steps"][-1] and "self-test" in auto["steps"][-1]
    for name in NAMES:
        assert name in done.stdout
    for step in auto["steps"]:
        assert step.split()[0] in done.stdout


def test_what_is_missing_is_a_line_each(tmp_path):
    broken = ("torch", "rclpy", "sensor_msgs", "cv_bridge", "cuda", "tensorrt_rtx", "tensorrt")
    done, found, auto = run_doctor(tmp_path, broken=broken, RMW_IMPLEMENTATION="")
    pytest.importorskip("openvino")
    assert done.returncode == 0, done.stdout + done.stderr
    assert set(found) == NAMES
    for name in ("GPU", "tensorrt", "tensorrt_rtx", "ROS", "large clouds"):
        assert found[name]["state"] == "missing", found[name]
    assert "the node cannot run (rclpy is broken here)" in found["ROS"]["text"]
    assert (found["cv_bridge"]["state"], auto["engine"]) == ("warning", "openvino")


def test_it_fails_where_no_engine_runs(tmp_path):
    done, found, auto = run_doctor(tmp_path, broken=("torch", "openvino", "tensorrt_rtx"))
    assert done.returncode == 1
    assert found["openvino"]["state"] == "error"
    assert not auto["can_run"] and "no engine works for model indoor_tiny" in auto["says"]
    assert "openvino is broken here" in auto["says"] and "ERROR auto" in done.stdout


def test_even_without_numpy_it_says_what_is_wrong(tmp_path):
    done, found, auto = run_doctor(tmp_path, broken=("numpy",))
    assert done.returncode == 1
    assert found["processor"]["state"] == "ok"
    assert "numpy is broken here" in found["libraries"]["text"]
    assert not auto["can_run"] and auto["says"].startswith("no engine")


def test_a_tensorrt_with_a_known_fault_is_warned_about(tmp_path):
    done, found, _ = run_doctor(tmp_path, modules={"tensorrt": "__version__ = '10.3.0'\n"})
    assert done.returncode == 0
    assert found["tensorrt"]["state"] == "warning"
    assert found["tensorrt"]["facts"]["version"] == "10.3.0"
    assert "DINOv2" in found["tensorrt"]["text"] and "10.14" in found["tensorrt"]["text"]


def test_an_unknown_model_is_one_line(tmp_path):
    done, _, _ = run_doctor(tmp_path, "--model", "outdoor_huge")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "outdoor_huge" in done.stderr


def large_clouds() -> machine.Finding:
    return next(one for one in machine_ros.findings() if one.name == "large clouds")


@pytest.fixture
def fast_dds(monkeypatch):
    """Fast DDS with nothing set."""
    for name in (middleware.PROFILE_VARIABLE, middleware.OLD_PROFILE_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setitem(sys.modules, "rclpy.utilities", None)  # the variable then tells
    monkeypatch.setenv("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp")
    return monkeypatch


def test_large_clouds_pass_with_our_profile_where_shared_memory_is_ample(fast_dds, tmp_path):
    fast_dds.setattr(middleware, "SHARED_MEMORY", tmp_path)  # a disk: gigabytes are free
    found = large_clouds()
    assert found.state == "ok" and found.facts["passes"]
    assert found.facts["segment_size"] == 64 << 20


def test_scarce_shared_memory_is_warned_about(fast_dds, tmp_path):
    fast_dds.setattr(middleware, "SHARED_MEMORY", tmp_path / "none")
    found = large_clouds()
    assert found.state == "warning" and not found.facts["passes"]
    assert "--shm-size" in found.text


@pytest.mark.parametrize("size, passes", [(64 << 20, True), (512 << 10, False)])
def test_a_users_own_profile_is_judged_by_its_sizes(fast_dds, tmp_path, size, passes):
    profile = tmp_path / "mine.xml"
    profile.write_text(
        f"<segment_size>{size}</segment_size><maxMessageSize>{size}</maxMessageSize>"
    )
    fast_dds.setenv(middleware.PROFILE_VARIABLE, str(profile))
    found = large_clouds()
    assert found.facts["passes"] is passes and str(profile) in found.text
    assert found.state == ("ok" if passes else "warning")


def test_a_users_profile_that_is_not_there_is_warned_about(fast_dds):
    fast_dds.setenv(middleware.PROFILE_VARIABLE, "/none/mine.xml")
    found = large_clouds()
    assert found.state == "warning" and "/none/mine.xml, which is no file" in found.text


def test_another_middleware_is_named_and_not_judged(fast_dds):
    fast_dds.setenv("RMW_IMPLEMENTATION", "rmw_cyclonedds_cpp")
    found = large_clouds()
    assert found.state == "ok" and "rmw_cyclonedds_cpp" in found.text
    assert "passes" not in found.facts


def test_cv_bridges_faults_are_found_by_trying():
    pytest.importorskip("cv_bridge")
    pytest.importorskip("sensor_msgs")
    found = next(one for one in machine_ros.findings() if one.name == "cv_bridge")
    # bgr8 in packed rows is read correctly by every cv_bridge beside OpenCV 4.
    assert "bgr8" not in found.facts["faults"]
    if found.facts["version"].startswith("1.13"):
        expected = {"padded rows", "16UC1", "yuv422_yuy2"}
        assert found.state == "warning" and expected <= set(found.facts["faults"])
        # Removed from numpy in 2.3; this cv_bridge calls it.
        assert hasattr(np.ndarray, "tostring") or "writing messages" in found.facts["faults"]


def test_a_probe_that_breaks_is_a_finding():
    def broken():
        raise OSError("libfoo.so.1: cannot open shared object file")

    found = machine.guarded("foo", broken)
    assert (found.name, found.state) == ("foo", "error")
    assert "OSError: libfoo.so.1" in found.text
