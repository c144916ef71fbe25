"""Messages of other sensors become anchors of the scale, or a complaint that says why not."""

import math
import re

import numpy as np
import pytest
from builtin_interfaces.msg import Time as Stamp
from sensor_msgs.msg import Imu, Range
from std_msgs.msg import Header

from depthrefl_ros.engine.bundle import Bundle
from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.ros.anchors import Anchors
from depthrefl_ros.ros.convert.clouds import cloud_message
from depthrefl_ros.ros.live_settings import LiveSettings
from depthrefl_ros.ros.moment import Moment
from depthrefl_ros.ros.mount import Mount
from depthrefl_ros.ros.parameters import Parameters
from depthrefl_ros.ros.transforms import Transforms

CAMERA = Camera.from_horizontal_fov(256, 192, 1.1)
FRAME, BASE = "camera_optical_frame", "base_link"
NOW = Stamp(sec=50)
WALL_M = 2.0


@pytest.fixture(scope="module")
def bundle():
    return Bundle.load("indoor_tiny")


class Bench:
    """Anchors that hear no TF: the mount parameters and the camera's own frame are all there is."""

    def __init__(self, node, bundle):
        self.bundle, self.complaints = bundle, {}
        self.mount = Mount(Transforms(node))
        self.anchors = Anchors(self.mount, self.complaints.__setitem__)

    def moment(self, **changes) -> Moment:
        header = Header(stamp=NOW, frame_id=FRAME)
        return Moment(header, LiveSettings.of(Parameters(**changes), self.bundle), 50.0)

    def measure(self, depth_m, **changes) -> dict:
        return self.anchors.log_ratios(depth_m, CAMERA, self.moment(**changes))


@pytest.fixture
def bench(peer, bundle):
    bench = Bench(peer.node, bundle)
    yield bench
    bench.mount.close()


def wall(metres=WALL_M) -> np.ndarray:
    return np.full((192, 256), metres, np.float32)


def range_message(metres=WALL_M, frame_id=FRAME, stamp=NOW) -> Range:
    message = Range(header=Header(stamp=stamp, frame_id=frame_id))
    message.min_range, message.max_range, message.field_of_view = 0.1, 5.0, 0.1
    message.range = metres
    return message


def cloud(points, frame_id=FRAME, stamp=NOW):
    message = cloud_message(np.asarray(points, np.float32), ("x", "y", "z"))
    message.header = Header(stamp=stamp, frame_id=frame_id)
    return message


def imu_message(acceleration, frame_id=FRAME) -> Imu:
    message = Imu(header=Header(stamp=NOW, frame_id=frame_id))
    vector = message.linear_acceleration
    vector.x, vector.y, vector.z = (float(value) for value in acceleration)
    return message


def test_points_in_the_cameras_frame_measure(bench):
    points = np.random.default_rng(2).uniform((-0.8, -0.5, WALL_M), (0.8, 0.5, WALL_M), (200, 3))
    bench.anchors.callbacks["reference_points"](cloud(points))
    ratios = bench.measure(wall(1.0), scale_correction="reference_points")["reference_points"]
    assert len(ratios) > 150
    np.testing.assert_allclose(ratios, math.log(2.0), atol=1e-6)
    assert not bench.complaints


def test_points_in_the_robots_frame_measure_by_the_mount_parameters(bench):
    ahead = np.random.default_rng(2).uniform((WALL_M, -0.8, 0.3), (WALL_M, 0.8, 0.7), (200, 3))
    bench.anchors.callbacks["reference_points"](cloud(ahead, BASE))
    how = {"scale_correction": "auto", "camera_height": 0.5}
    ratios = bench.measure(wall(4.0), **how)["reference_points"]
    np.testing.assert_allclose(ratios, math.log(0.5), atol=1e-5)


def test_a_ranger_in_the_robots_frame_measures_once_a_reading(bench):
    how = {"scale_correction": "range", "camera_height": 1e-3}
    bench.anchors.callbacks["range"](range_message(frame_id=BASE))
    for count in (1, 1):  # the second frame comes without a new reading
        ratios = bench.measure(wall(1.0), **how)["range"]
        assert len(ratios) == count
    assert ratios[0] == pytest.approx(math.log(2.0), abs=0.01)
    bench.anchors.callbacks["range"](range_message(frame_id=BASE))
    assert len(bench.measure(wall(1.0), **how)["range"]) == 2
    assert not bench.complaints


@pytest.mark.parametrize("metres", [math.inf, -math.inf, math.nan, 0.0, 9.0])
def test_a_reading_that_is_no_distance_is_told(bench, metres):
    bench.anchors.callbacks["range"](range_message(metres))
    assert "range" not in bench.measure(wall(), scale_correction="range")
    assert f"the reading is {metres:g} m" in bench.complaints["range"]


@pytest.mark.parametrize("topic", ["range", "reference_points"])
def test_an_unknown_frame_is_told(bench, topic):
    message = range_message(frame_id="mast") if topic == "range" else cloud([[0, 0, 2]], "mast")
    bench.anchors.callbacks[topic](message)
    assert topic not in bench.measure(wall(), scale_correction=topic)
    assert f"{topic} cannot measure the scale: no transform" in bench.complaints[topic]
    assert "'mast'" in bench.complaints[topic]


def test_a_cloud_without_z_is_told(bench):
    message = cloud_message(np.zeros((3, 2), np.float32), ("x", "y"))
    message.header = Header(stamp=NOW, frame_id=FRAME)
    bench.anchors.callbacks["reference_points"](message)
    assert not bench.measure(wall(), scale_correction="reference_points")
    assert "reference_points: field 'z' is missing" in bench.complaints["reference_points"]


def test_what_tells_of_another_moment_is_not_used(bench):
    bench.anchors.callbacks["reference_points"](cloud([[0, 0, 2]], stamp=Stamp(sec=47)))
    found = bench.measure(wall(), scale_correction="reference_points")
    assert found["reference_points"].size == 0
    assert "reference_points is 3.0 s older than the image" in bench.complaints["reference_points"]


def floor(height_m: float, pitch_rad: float) -> np.ndarray:
    """(h, w) float32 depth of a floor and of a wall 8 m away."""
    rows = np.arange(CAMERA.height)[:, None] - CAMERA.cy
    drop = math.sin(pitch_rad) + math.cos(pitch_rad) * rows / CAMERA.fy
    with np.errstate(divide="ignore"):
        depth = np.where(drop > 0, height_m / drop, 8.0)
    return np.minimum(np.broadcast_to(depth, (192, 256)), 8.0).astype(np.float32)


def test_the_floor_measures_where_the_height_is_known(bench):
    how = {"camera_height": 0.8, "camera_pitch": 20.0}
    predicted = floor(0.4, math.radians(20.0))  # half as high as it is
    ratios = bench.measure(predicted, scale_correction="ground", **how)["ground"]
    assert len(ratios) > 100
    assert np.median(ratios) == pytest.approx(math.log(2.0), abs=0.01)
    # It judges the others, too, and nobody is told where it cannot.
    assert "ground" in bench.measure(predicted, scale_correction="range", **how)
    assert bench.measure(predicted, scale_correction="range").keys() == {"range"}
    assert not bench.complaints
    assert bench.measure(predicted, scale_correction="ground") == {}
    assert "camera_height is not given" in bench.complaints["ground"]


def test_up_is_where_an_imu_at_rest_pushes_against_gravity(bench):
    pitch = math.radians(30.0)
    up = np.array([0.0, -math.cos(pitch), -math.sin(pitch)])
    moment = bench.moment(camera_pitch=10.0)
    assert bench.anchors.up(moment) == pytest.approx(
        Pose.from_mount(0.0, math.radians(10.0)).up_in_source
    )
    for _ in range(10):
        bench.anchors.callbacks["imu"](imu_message(9.81 * up))
    assert bench.anchors.up(moment) == pytest.approx(up, abs=1e-6)
    in_the_base = bench.moment(camera_pitch=10.0, camera_height=1.0)
    bench.anchors.reset()
    bench.anchors.callbacks["imu"](imu_message((0.0, 0.0, 9.81), BASE))
    assert bench.anchors.up(in_the_base) == pytest.approx(
        Pose.from_mount(1.0, math.radians(10.0)).up_in_source
    )
    assert not bench.complaints


@pytest.mark.parametrize(
    "message, complaint",
    [
        (imu_message((0.0, 0.0, 0.0)), "which is not gravity"),
        (imu_message((0.0, -9.81, 0.0), "mast"), "imu cannot tell what is up: .*'mast'"),
    ],
)
def test_an_imu_that_cannot_tell_leaves_it_to_the_mount_parameters(bench, message, complaint):
    bench.anchors.callbacks["imu"](message)
    moment = bench.moment(camera_roll=5.0)
    expected = Pose.from_mount(0.0, 0.0, math.radians(5.0)).up_in_source
    assert bench.anchors.up(moment) == pytest.approx(expected)
    assert re.search(complaint, bench.complaints["imu"])
