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

"""Fixtures of several files: real nodes over real DDS in a domain of their own, and data."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Test runs beside each other, or beside a robot on the same network, must not hear one another.
# Domains up to 101 keep their ports out of the range that Linux hands out by itself.
os.environ["ROS_DOMAIN_ID"] = str(1 + os.getpid() % 101)
# The threads of small networks mostly wait for one another, spinning: on a busy machine of two
# cores the training tests take four times as long with two. Set before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture
def rooms(tmp_path):
    """Return a plain folder of three images with depth."""
    from dataset_folders import write_plain_folder  # most tests need none of what it imports

    return write_plain_folder(tmp_path / "rooms", count=3)


@pytest.fixture(scope="session")
def bundle():
    """Return the shipped model ``indoor_tiny``; no test may change it."""
    from depthrefl_ros.engine.bundle import Bundle

    return Bundle.load("indoor_tiny")


@pytest.fixture(scope="module")
def engines(bundle):
    """Return the engines that every machine has, with the shipped model, by name."""
    from depthrefl_ros.engine.openvino_engine import OpenVinoEngine
    from depthrefl_ros.engine.torch_engine import TorchEngine

    return {"openvino": OpenVinoEngine(bundle), "torch": TorchEngine(bundle, device="cpu")}


@pytest.fixture(params=["tensorrt"])
def machine(monkeypatch, request):
    """Return a machine with a GPU and TensorRT 10.3, both stood in for."""
    pytest.importorskip("cuda.bindings.runtime", reason="cuda-python is not installed")
    from cuda_stand_in import stand_in

    return stand_in(monkeypatch, request.param, max_batch=2)


class RunningProcess:
    """A Python module as a process of its own, its output in a file."""

    def __init__(self, log: Path, module: str, *arguments: str, environment=None):
        self.log = log
        self._file = log.open("w", encoding="utf-8")
        variables = {**os.environ, **(environment or {})}
        search = [str(ROOT), variables.get("PYTHONPATH", "")]
        variables["PYTHONPATH"] = os.pathsep.join(filter(None, reversed(search)))
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdout=self._file,
            stderr=subprocess.STDOUT,
            env=variables,
            # Shells start background jobs with SIGINT ignored, and children inherit that.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )

    def output(self) -> str:
        return self.log.read_text(encoding="utf-8")

    def stop(self, *signals: int, timeout: float = 10.0) -> int:
        """Send the signals, one after the other, and return the exit code."""
        for number in signals or (signal.SIGTERM,):
            self.process.send_signal(number)
            time.sleep(0.02)
        try:
            return self.process.wait(timeout)
        finally:
            self.process.kill()
            self.process.wait()  # no zombie is left for other tests to find
            self._file.close()


class Peer:
    """A node of the test's: publishes, subscribes, calls services, and spins when told."""

    def __init__(self):
        import rclpy
        from rclpy.executors import SingleThreadedExecutor

        self.node = rclpy.create_node(f"peer_{time.monotonic_ns()}")
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)

    def collect(self, kind, topic: str, qos=10) -> list:
        """Return a list that every message on the topic is appended to."""
        messages: list = []
        self.node.create_subscription(kind, topic, messages.append, qos)
        return messages

    def spin_until(self, condition, timeout: float = 10.0, period: float = 0.05, do=None) -> bool:
        """Spin until the condition holds; calls ``do`` every ``period`` seconds meanwhile."""
        end, due = time.monotonic() + timeout, 0.0
        while not condition():
            now = time.monotonic()
            if now > end:
                return False
            if do is not None and now >= due:
                do()
                due = now + period
            self._executor.spin_once(timeout_sec=0.02)
        return True

    def call(self, kind, name: str, request, timeout: float = 15.0):
        client = self.node.create_client(kind, name)
        try:
            assert client.wait_for_service(timeout), f"no service {name}"
            future = client.call_async(request)
            assert self.spin_until(future.done, timeout), f"no answer from {name}"
            return future.result()
        finally:
            self.node.destroy_client(client)

    def close(self) -> None:
        self._executor.shutdown()
        self.node.destroy_node()


@pytest.fixture(scope="session")
def ros():
    """Start ROS in the test's own process."""
    import rclpy
    from rclpy.signals import SignalHandlerOptions

    from depthrefl_ros.ros.middleware import use_large_message_transport

    use_large_message_transport()
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    yield
    rclpy.try_shutdown()


@pytest.fixture
def peer(ros):
    peer = Peer()
    yield peer
    peer.close()


@pytest.fixture
def other(ros):
    """Return a second node beside the peer's: the camera that it listens to."""
    other = Peer()
    yield other
    other.close()


@pytest.fixture(scope="module")
def running_node(ros, tmp_path_factory):
    """Return the camera of a running node, which takes up one network after the other."""
    import network_camera

    with network_camera.running_node(tmp_path_factory.mktemp("node")) as camera:
        yield camera


@pytest.fixture(scope="module")
def one_torch_thread():
    """Give torch one thread: more cost more than they bring in networks that are this small."""
    import torch

    count = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(count)


@pytest.fixture(scope="session")
def without_torch(tmp_path_factory) -> dict[str, str]:
    """Return an environment in which importing torch fails."""
    folder = tmp_path_factory.mktemp("without_torch")
    (folder / "torch.py").write_text("raise ImportError('torch is not here')\n")
    return {"PYTHONPATH": str(folder)}
