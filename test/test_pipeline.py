"""One frame at a time through the real pipeline, engine and publishers, without the executable."""

import time
from array import array

import numpy as np
import pytest
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from depthrefl_ros.engine.bundle import Bundle
from depthrefl_ros.engine.openvino_engine import OpenVinoEngine
from depthrefl_ros.estimator import DepthEstimator
from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.ros.cameras import CameraSources
from depthrefl_ros.ros.diagnostics import ERROR, Diagnostics
from depthrefl_ros.ros.live_settings import LiveSettings, load_mask
from depthrefl_ros.ros.messages import camera_to_info
from depthrefl_ros.ros.outputs import DEPTH_IMAGE, Outputs
from depthrefl_ros.ros.parameters import ParameterError, Parameters
from depthrefl_ros.ros.pipeline import Pipeline, Received

WIDTH, HEIGHT = 160, 120


@pytest.fixture(scope="module")
def bundle():
    return Bundle.load("indoor_tiny")


class Bench:
    """A pipeline and what it needs."""

    def __init__(self, node, bundle):
        self.bundle = bundle
        self.diagnostics = Diagnostics()
        self.cameras = CameraSources("/camera_info")
        self.outputs = Outputs(node)
        self.live = LiveSettings.of(Parameters(), bundle)
        self.estimator = DepthEstimator(OpenVinoEngine(bundle, 1), bundle, self.live.estimator)
        self.pipeline = Pipeline(
            self.estimator,
            self.cameras,
            self.outputs,
            self.diagnostics,
            node.get_logger(),
            node.get_clock(),
            "/image",
            self.live,
        )

    def give_camera(self):
        camera = Camera.pinhole(WIDTH, HEIGHT, 125, 125, 79.5, 59.5)
        self.cameras.add(camera_to_info(camera, Header()))

    def process(self, waited_s=0.0, **changes):
        message = Image(height=HEIGHT, width=WIDTH, encoding="mono8", step=WIDTH)
        message.data = array("B", np.arange(HEIGHT * WIDTH, dtype=np.uint8).tobytes())
        for name, value in changes.items():
            setattr(message, name, value)
        self.pipeline.process(Received(message, time.monotonic() - waited_s))
        return self.diagnostics.counts()


@pytest.fixture
def bench(peer, bundle):
    bench = Bench(peer.node, bundle)
    peer.collect(Image, "depth/image", qos_profile_sensor_data)
    assert peer.spin_until(lambda: bench.outputs.wanted() == {DEPTH_IMAGE})
    yield bench
    bench.outputs.close()


def test_a_failing_engine_drops_the_frame_and_the_next_one_is_processed(bench, capfd):
    bench.give_camera()
    bench.estimator.engine.close()
    assert bench.process() == {"dropped_failed": 1}
    status = bench.diagnostics.status("depthrefl", "active", "")
    assert status.level == ERROR
    assert "a frame failed: Traceback" in capfd.readouterr().err
    bench.estimator.engine = OpenVinoEngine(bench.bundle, 1)
    assert bench.process() == {"dropped_failed": 1, "processed": 1, "published_depth/image": 1}


def test_a_frame_that_waited_too_long_is_dropped(bench):
    bench.give_camera()
    assert bench.process(waited_s=1.5) == {"dropped_too_old": 1}
    bench.pipeline.live = LiveSettings.of(Parameters(max_age=0.0), bench.bundle)
    assert bench.process(waited_s=1.5)["processed"] == 1


def test_what_repeats_is_logged_once(bench, capfd):
    for _ in range(20):
        counts = bench.process()
    assert counts == {"dropped_no_camera_info": 20}
    for _ in range(20):
        counts = bench.process(encoding="rgb9")
    assert counts["dropped_bad_image"] == 20
    logged = capfd.readouterr().err
    assert logged.count("no CameraInfo on /camera_info") == 1
    assert logged.count("/image: encoding is 'rgb9'") == 1


def test_range_defaults_to_the_bundles_and_must_fit_it(bundle):
    live = LiveSettings.of(Parameters(), bundle)
    assert live.estimator.min_range_m == bundle.min_range_m
    assert live.estimator.max_range_m == bundle.max_range_m
    with pytest.raises(ValueError, match="min_range is 900.0 m and max_range"):
        LiveSettings.of(Parameters(min_range=900.0), bundle)


def test_files_are_read_again_only_when_their_parameter_changes(bundle, tmp_path):
    import cv2

    path = tmp_path / "mask.png"
    cv2.imwrite(str(path), np.full((4, 5), 255, np.uint8))
    first = LiveSettings.of(Parameters(self_mask=str(path)), bundle)
    path.unlink()
    second = LiveSettings.of(Parameters(self_mask=str(path), max_rate=5.0), bundle, first)
    assert second.mask is first.mask and first.mask.shape == (4, 5)
    with pytest.raises(ParameterError, match="self_mask is .*mask.png"):
        load_mask(str(path))
