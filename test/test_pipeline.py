"""One frame at a time through the real pipeline, engine and publishers, without the executable."""

import time
from array import array

import numpy as np
import pytest
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image, LaserScan, PointCloud2
from std_msgs.msg import Header
from transform_buffer import TransformBuffer, transform

from depthrefl_ros.engine.bundle import Bundle
from depthrefl_ros.engine.openvino_engine import OpenVinoEngine
from depthrefl_ros.estimator import DepthEstimator
from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.ros.anchors import Anchors
from depthrefl_ros.ros.cameras import CameraSources
from depthrefl_ros.ros.complaints import Complaints
from depthrefl_ros.ros.convert.camera_info import camera_to_info
from depthrefl_ros.ros.diagnostics import ERROR, Diagnostics
from depthrefl_ros.ros.live_settings import LiveSettings, load_mask
from depthrefl_ros.ros.mount import Mount
from depthrefl_ros.ros.parameters import ParameterError, Parameters
from depthrefl_ros.ros.pipeline import Pipeline, Received
from depthrefl_ros.ros.publishers import CLEARING, DEPTH_IMAGE, MARKING, SCAN, Publishers
from depthrefl_ros.ros.transforms import Transforms, open_tf2_buffer

WIDTH, HEIGHT = 160, 120


@pytest.fixture(scope="module")
def bundle():
    return Bundle.load("indoor_tiny")


class Bench:
    """A pipeline and what it needs."""

    def __init__(self, node, bundle, open_buffer=open_tf2_buffer, **changes):
        self.bundle = bundle
        self.diagnostics = Diagnostics()
        self.cameras = CameraSources("/camera_info")
        self.publishers = Publishers(node, self.diagnostics)
        self.mount = Mount(Transforms(node, open_buffer))
        complaints = Complaints(self.diagnostics, node.get_logger())
        self.anchors = Anchors(self.mount, complaints.warn)
        self.live = LiveSettings.of(Parameters(**changes), bundle)
        self.estimator = DepthEstimator(OpenVinoEngine(bundle, 1), bundle, self.live.estimator)
        self.pipeline = Pipeline(
            self.estimator,
            self.cameras,
            self.publishers,
            self.mount,
            self.anchors,
            self.diagnostics,
            complaints,
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

    def message(self) -> str:
        return self.diagnostics.status("depthrefl", "active", "").message

    def close(self):
        self.publishers.close()
        self.mount.close()


@pytest.fixture
def bench(peer, bundle):
    bench = Bench(peer.node, bundle)
    peer.collect(Image, "depth/image", qos_profile_sensor_data)
    assert peer.spin_until(lambda: bench.publishers.wanted() == {DEPTH_IMAGE})
    yield bench
    bench.close()


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


@pytest.fixture
def costmap(peer, bundle):
    """Makes a bench that a costmap listens to; gives it and the messages by topic."""
    benches = []

    def make(open_buffer=open_tf2_buffer, **changes):
        bench = Bench(peer.node, bundle, open_buffer, **changes)
        benches.append(bench)
        bench.give_camera()
        kinds = {MARKING: PointCloud2, CLEARING: PointCloud2, SCAN: LaserScan}
        received = {topic: peer.collect(kind, topic, 10) for topic, kind in kinds.items()}
        assert peer.spin_until(lambda: bench.publishers.wanted() == kinds.keys())
        return bench, received

    yield make
    for bench in benches:
        bench.close()


def stamped(seconds: int) -> Header:
    header = Header(frame_id="camera_optical_frame")
    header.stamp.sec = seconds
    return header


def test_after_a_failure_one_message_without_evidence_and_then_silence(peer, costmap):
    bench, received = costmap(camera_height=0.5)
    bench.process(header=stamped(10))
    bench.estimator.engine.close()
    for seconds in (11, 12, 13):
        counts = bench.process(header=stamped(seconds))
    assert counts["dropped_failed"] == 3
    assert {topic: counts[f"published_{topic}"] for topic in received} == dict.fromkeys(received, 2)
    assert peer.spin_until(lambda: all(len(messages) == 2 for messages in received.values()))
    for topic in (MARKING, CLEARING):
        assert received[topic][1].width == 0
    assert np.isnan(received[SCAN][1].ranges).all()
    assert {messages[1].header.stamp.sec for messages in received.values()} == {11}
    bench.estimator.engine = OpenVinoEngine(bench.bundle, 1)
    assert bench.process(header=stamped(14))[f"published_{MARKING}"] == 3


def test_a_transform_that_comes_too_late_is_told_and_the_next_one_is_taken(peer, costmap):
    mount = transform((0.1, 0.0, 0.7), (-0.5, 0.5, -0.5, 0.5))
    buffer = TransformBuffer({("base_link", "camera_optical_frame"): mount}, last_s=11.5)
    bench, received = costmap(buffer.open, camera_pitch=-90.0)
    bench.process(header=stamped(10))  # from now on TF is listened to
    peer.spin_until(lambda: False, 0.2)
    for messages in received.values():
        messages.clear()
    before = bench.process(header=stamped(11))
    after = bench.process(header=stamped(12))
    for topic in received:  # one of the good frame, one to fall silent
        assert after[f"published_{topic}"] == before[f"published_{topic}"] + 1
    assert "no marking and clearing: no transform from 'camera_optical_frame'" in bench.message()
    assert "extrapolation into the future" in bench.message()
    buffer.last_s = 20.0
    again = bench.process(header=stamped(13))
    assert all(again[f"published_{topic}"] > after[f"published_{topic}"] for topic in received)


def test_a_scan_has_its_own_frame_and_needs_it_in_tf(peer, costmap):
    optical = (-0.5, 0.5, -0.5, 0.5)
    known = {
        ("base_link", "camera_optical_frame"): transform((0.0, 0.0, 0.7), optical),
        ("lidar", "camera_optical_frame"): transform((1.0, 0.0, 0.2), optical),
    }
    bench, received = costmap(TransformBuffer(known).open, scan_frame="lidar")
    bench.process(header=stamped(10))
    peer.spin_until(lambda: False, 0.2)
    bench.process(header=stamped(11))
    scans = received[SCAN]
    assert peer.spin_until(lambda: bool(scans) and scans[-1].header.stamp.sec == 11)
    assert scans[-1].header.frame_id == "lidar"
    del known["lidar", "camera_optical_frame"]
    counts = bench.process(header=stamped(12))
    assert "no scan: no transform from 'camera_optical_frame' to 'lidar'" in bench.message()
    assert bench.process(header=stamped(13))[f"published_{MARKING}"] > counts[f"published_{SCAN}"]


def test_a_clock_that_jumps_back_begins_anew(peer, costmap):
    buffer = TransformBuffer({})
    bench, _ = costmap(buffer.open, camera_height=0.5)
    bench.process(header=stamped(10))
    peer.spin_until(lambda: False, 0.2)
    bench.process(header=stamped(11))
    assert not buffer.was_cleared
    bench.process(header=stamped(5))
    assert buffer.was_cleared


def test_a_camera_without_stamps_goes_by_the_time_of_receipt(bench):
    bench.give_camera()
    for _ in range(3):
        counts = bench.process(header=stamped(0))
    assert counts == {"processed": 3, "published_depth/image": 3}


def test_flicker_is_averaged_out_from_frame_to_frame(peer, bench):
    """Noise on a still picture moves the depth less with the stabiliser than without."""
    bench.give_camera()
    images = peer.collect(Image, "depth/image", qos_profile_sensor_data)
    rng = np.random.default_rng(4)
    picture = np.kron(rng.integers(60, 200, (12, 16)), np.ones((10, 10))).astype(np.uint8)
    spread = {}
    for seconds in (0.0, 2.0):
        bench.pipeline.live = LiveSettings.of(Parameters(temporal_smoothing=seconds), bench.bundle)
        depths = []
        for number in range(12):
            noisy = np.clip(picture + rng.normal(0, 4, picture.shape), 0, 255).astype(np.uint8)
            header = stamped(100)
            header.stamp.nanosec = number * 50_000_000
            before = len(images)
            bench.process(header=header, data=array("B", noisy.tobytes()))
            assert peer.spin_until(lambda before=before: len(images) > before)
            depth = np.frombuffer(images[-1].data, np.float32)
            depths.append(np.where(np.isfinite(depth), depth, np.nan))
        logs = np.log(np.array(depths[4:]))
        spread[seconds] = np.nanmedian(np.std(logs, axis=0))
    assert spread[2.0] < 0.6 * spread[0.0]
