"""The launch file, run by the real launch and launch_ros where they are installed."""

import importlib.util
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import ROOT
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.srv import GetParameters

# Not "launch": from the root of the tree Python takes the folder launch/ for a package.
pytest.importorskip("launch.actions", reason="launch is not installed (it is not on PyPI)")
pytest.importorskip("launch_ros.actions", reason="launch_ros is not installed (not on PyPI)")

import launch  # noqa: E402

LAUNCH_FILE = ROOT / "launch" / "depthrefl.launch.py"
ARGUMENTS = {
    "image_topic",
    "camera_info_topic",
    "model",
    "engine",
    "params_file",
    "use_sim_time",
    "autostart",
    "use_rviz",
    "namespace",
    "log_level",
}


def load_launch_file():
    spec = importlib.util.spec_from_file_location("depthrefl_launch", LAUNCH_FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def entities(**arguments):
    """What the launch file starts with these arguments."""
    module = load_launch_file()
    context = launch.LaunchContext()
    for name, (default, _) in module.ARGUMENTS.items():
        context.launch_configurations[name] = arguments.get(name, default)
    rviz = [one for one in module.start_rviz(context) if one.condition.evaluate(context)]
    return context, [*module.start_node(context), *rviz]


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """An ament prefix in which the package looks installed, its executable running this tree."""
    index = tmp_path / "share/ament_index/resource_index/packages"
    index.mkdir(parents=True)
    (index / "depthrefl_ros").touch()
    (tmp_path / "share/depthrefl_ros").symlink_to(ROOT)
    executable = tmp_path / "lib/depthrefl_ros/depthrefl"
    executable.parent.mkdir(parents=True)
    executable.write_text(
        f"#!/bin/sh\nexport PYTHONPATH={ROOT}:$PYTHONPATH\n"
        f'exec {sys.executable} -m depthrefl_ros.ros.node "$@"\n'
    )
    executable.chmod(executable.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv(
        "AMENT_PREFIX_PATH", f"{tmp_path}:{os.environ.get('AMENT_PREFIX_PATH', '')}".rstrip(":")
    )


# What ``ros2 launch`` does with a file and its arguments; LaunchService wants a main thread.
RUNNER = """
import sys
import launch
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
service = launch.LaunchService(noninteractive=True)
arguments = [tuple(one.split(":=", 1)) for one in sys.argv[2:]]
source = PythonLaunchDescriptionSource(sys.argv[1])
service.include_launch_description(
    launch.LaunchDescription([IncludeLaunchDescription(source, launch_arguments=arguments)])
)
sys.exit(service.run())
"""


class RunningLaunch:
    """The launch file run by a process group of its own, as from a terminal."""

    def __init__(self, log: Path, **arguments):
        given = [f"{name}:={value}" for name, value in arguments.items()]
        self._log = log
        with log.open("w") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-c", RUNNER, str(LAUNCH_FILE), *given],
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            )

    def output(self) -> str:
        return self._log.read_text()

    def interrupt(self) -> int:
        """Ctrl-C: SIGINT to the whole group, on top of which launch sends the node its own."""
        os.killpg(self._process.pid, signal.SIGINT)
        try:
            return self._process.wait(15)
        finally:
            if self._process.poll() is None:
                os.killpg(self._process.pid, signal.SIGKILL)


def test_every_argument_is_declared_with_a_description():
    description = load_launch_file().generate_launch_description()
    declared = {argument.name: argument for argument in description.get_launch_arguments()}
    assert set(declared) == ARGUMENTS
    assert all(len(argument.description) > 10 for argument in declared.values())


def test_rviz_only_where_asked_for():
    _, without = entities()
    _, with_rviz = entities(use_rviz="true")
    assert len(without) == 1 and len(with_rviz) == 2


def test_rviz_shows_image_preview_and_cloud():
    config = yaml.safe_load((ROOT / "config" / "depthrefl.rviz").read_text())
    displays = config["Visualization Manager"]["Displays"]
    topics = {one["Topic"]["Value"] for one in displays if "Topic" in one}
    assert topics == {"/image", *load_launch_file().RESULTS}


def test_a_truth_value_that_is_none_is_refused():
    with pytest.raises(ValueError, match="autostart is 'perhaps'; it must be true or false"):
        entities(autostart="perhaps")


def test_launch_starts_the_node_as_its_arguments_say(installed, peer, tmp_path):
    params_file = tmp_path / "params.yaml"
    params_file.write_text(
        yaml.safe_dump({"/**": {"ros__parameters": {"max_rate": 7.5, "diagnostics_period": 0.2}}})
    )
    arrays = peer.collect(DiagnosticArray, "/diagnostics")
    running = RunningLaunch(
        tmp_path / "log.txt",
        params_file=str(params_file),
        namespace="robot",
        image_topic="/camera/image_raw",
        camera_info_topic="/camera/camera_info",
        engine="openvino",
        use_sim_time="true",
        log_level="warn",
    )
    try:

        def is_active():
            return any("active" in [item.value for item in one.status[0].values] for one in arrays)

        assert peer.spin_until(is_active, 30), running.output()
        graph, node = peer.node, ("depthrefl", "/robot")
        taken = {"/camera/image_raw", "/camera/camera_info"}
        assert peer.spin_until(
            lambda: taken <= set(dict(graph.get_subscriber_names_and_types_by_node(*node)))
        )
        given = {"/robot/points", "/robot/depth/image"}
        assert peer.spin_until(
            lambda: given <= set(dict(graph.get_publisher_names_and_types_by_node(*node)))
        )
        names = ["max_rate", "engine", "model", "use_sim_time"]
        answer = peer.call(
            GetParameters, "/robot/depthrefl/get_parameters", GetParameters.Request(names=names)
        )
        rate, engine, model, sim_time = answer.values
        assert (rate.double_value, engine.string_value) == (7.5, "openvino")
        assert (model.string_value, sim_time.bool_value) == ("indoor_tiny", True)
    finally:
        code = running.interrupt()
    assert code == 0, running.output()
    assert "process has finished cleanly" in running.output()
    assert "Traceback" not in running.output()
    assert "openvino fp32: chosen" not in running.output()  # told at level info


def test_launch_without_autostart_leaves_the_node_unconfigured(installed, peer, tmp_path):
    arrays = peer.collect(DiagnosticArray, "/diagnostics")
    running = RunningLaunch(tmp_path / "log.txt", autostart="false")
    try:
        assert peer.spin_until(lambda: len(arrays) >= 2, 30)
        assert arrays[-1].status[0].message == "unconfigured"
    finally:
        code = running.interrupt()
    assert code == 0, running.output()
    assert "process has finished cleanly" in running.output()
    assert "Traceback" not in running.output()


def test_the_config_lies_where_the_launch_file_looks():
    config = load_launch_file().CONFIG
    assert config == Path(ROOT) / "config"
    assert (config / "depthrefl.yaml").is_file() and (config / "depthrefl.rviz").is_file()
