"""Poses by TF, by the mount parameters, by the floor: with tf2 really absent, as on PyPI.

The look-ups themselves are tested on an object that answers as ``tf2_ros.Buffer`` is documented to,
and, where tf2 is installed, on tf2.
"""

import importlib.util
import math
import threading

import numpy as np
import pytest
from builtin_interfaces.msg import Time as Stamp
from std_msgs.msg import Header
from transform_buffer import TransformBuffer, transform

from depthrefl_ros.engine.bundle import Bundle
from depthrefl_ros.estimator import DepthFrame
from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.geometry.rectification import Rectification
from depthrefl_ros.ros.live_settings import LiveSettings
from depthrefl_ros.ros.moment import Moment
from depthrefl_ros.ros.mount import FLOOR_HELD_S, Mount
from depthrefl_ros.ros.parameters import Parameters
from depthrefl_ros.ros.transforms import TransformError, Transforms

CAMERA_FRAME = "camera_optical_frame"
HAS_TF2 = importlib.util.find_spec("tf2_ros") is not None


@pytest.fixture
def listening(peer):
    """Transforms that listen already, and what they ask."""
    made = []

    def make(known):
        buffer = TransformBuffer(known)

        transforms = Transforms(peer.node, buffer.open)
        made.append(transforms)
        with pytest.raises(TransformError, match="only begins now"):
            transforms.find("a", "b", Stamp())
        assert peer.spin_until(lambda: transforms._buffer is not None)
        return transforms, buffer

    yield make
    for transforms in made:
        transforms.close()  # which may be called again


@pytest.fixture(scope="module")
def bundle():
    return Bundle.load("indoor_tiny")


def moment_at(bundle, seconds=5.0, **changes) -> Moment:
    header = Header(stamp=Stamp(sec=int(seconds)), frame_id=CAMERA_FRAME)
    return Moment(header, LiveSettings.of(Parameters(**changes), bundle), seconds)


@pytest.mark.skipif(HAS_TF2, reason="tf2 is installed here")
def test_without_tf2_the_error_says_that_it_is_missing(peer):
    transforms = Transforms(peer.node)

    def error() -> str:
        with pytest.raises(TransformError) as caught:
            transforms.find("base_link", CAMERA_FRAME, Stamp())
        return str(caught.value)

    try:
        assert peer.spin_until(lambda: "tf2's Python package is not installed" in error(), 5)
        assert "'camera_optical_frame' to 'base_link'" in error()
    finally:
        transforms.close()


@pytest.mark.skipif(not HAS_TF2, reason="tf2's Python package is not on PyPI")
def test_with_tf2_a_published_mount_is_found(peer):
    from tf2_ros import StaticTransformBroadcaster

    message = transform((0.1, 0.0, 0.5), (-0.5, 0.5, -0.5, 0.5))
    message.header.frame_id, message.child_frame_id = "base_link", CAMERA_FRAME
    broadcaster = StaticTransformBroadcaster(peer.node)
    broadcaster.sendTransform(message)
    transforms = Transforms(peer.node)
    found = []

    def look() -> bool:
        try:
            found.append(transforms.find("base_link", CAMERA_FRAME, Stamp(sec=7)))
        except TransformError:
            return False
        return True

    try:
        assert peer.spin_until(look, 10)
        assert found[0].translation == pytest.approx([0.1, 0.0, 0.5])
        assert found[0].up_in_source == pytest.approx([0, -1, 0], abs=1e-9)
        with pytest.raises(TransformError, match="elsewhere"):
            transforms.find("elsewhere", CAMERA_FRAME, Stamp(sec=7))
    finally:
        transforms.close()


def test_a_mount_that_stays_is_one_object_and_a_moved_one_another(listening):
    known = {("base_link", CAMERA_FRAME): transform((0.0, 0.0, 0.5))}
    transforms, _ = listening(known)
    find = lambda: transforms.find("base_link", CAMERA_FRAME, Stamp(sec=5))  # noqa: E731
    first = find()
    assert find() is first
    known["base_link", CAMERA_FRAME] = transform((0.0, 0.0, 0.6))
    assert find().translation[2] == 0.6
    assert first.translation[2] == 0.5


@pytest.mark.parametrize(
    "frames, last_s, complaint",
    [
        (("base_link", "nowhere"), math.inf, "from 'nowhere' to 'base_link'.*does not exist"),
        (("base_link", CAMERA_FRAME), 4.0, "to 'base_link'.*extrapolation into the future"),
        (("base_link", "broken"), math.inf, "'broken'.*quaternion is x=0.*of length 0"),
    ],
)
def test_what_cannot_be_looked_up_is_told_with_both_frames(listening, frames, last_s, complaint):
    transforms, buffer = listening(
        {
            ("base_link", CAMERA_FRAME): transform(),
            ("base_link", "broken"): transform(turn=(0.0, 0.0, 0.0, 0.0)),
        }
    )
    buffer.last_s = last_s
    with pytest.raises(TransformError, match=complaint):
        transforms.find(*frames, Stamp(sec=5))


def test_only_the_executor_listens_and_only_when_asked(peer):
    threads = []

    def open_buffer(_node):
        threads.append(threading.current_thread())
        return TransformBuffer({}), lambda: None

    transforms = Transforms(peer.node, open_buffer)
    peer.spin_until(lambda: False, 0.1)
    assert not threads

    def ask():
        with pytest.raises(TransformError):
            transforms.find("a", "b", Stamp())

    asking = threading.Thread(target=ask)
    asking.start()
    asking.join()
    assert peer.spin_until(lambda: bool(threads))
    assert threads == [threading.current_thread()]
    transforms.close()


def test_a_backward_jump_clears_and_close_ends_the_listening(listening):
    transforms, buffer = listening({})
    transforms.clear()
    assert buffer.was_cleared
    assert not buffer.was_unregistered
    transforms.close()
    assert buffer.was_unregistered


def test_tf_comes_before_the_mount_parameters(listening, bundle):
    transforms, buffer = listening({("base_link", CAMERA_FRAME): transform((0.0, 0.0, 0.5))})
    mount = Mount(transforms)
    moment = moment_at(bundle, camera_height=0.9)
    found = mount.camera_pose(moment)
    assert (found.source, found.base_from_camera.translation[2]) == ("TF", 0.5)
    buffer.last_s = 4.0  # the frame is from the future now
    found = mount.camera_pose(moment)
    assert (found.source, found.base_from_camera.translation[2]) == ("parameters", 0.9)
    assert mount.camera_pose(moment).base_from_camera is found.base_from_camera


def test_the_mount_parameters_are_degrees_down_and_clockwise(listening, bundle):
    transforms, _ = listening({})
    mount = Mount(transforms)
    down = mount.camera_pose(moment_at(bundle, camera_height=1.0, camera_pitch=90.0))
    assert down.base_from_camera.apply(np.array([0.0, 0.0, 1.0])) == pytest.approx([0, 0, 0])
    over = mount.camera_pose(moment_at(bundle, camera_height=1.0, camera_roll=180.0))
    assert over.base_from_camera.up_in_source == pytest.approx([0, 1, 0])


def test_frames_of_sensors(listening, bundle):
    transforms, _ = listening({("lidar", CAMERA_FRAME): transform((1.0, 2.0, 3.0))})
    mount, moment = Mount(transforms), moment_at(bundle, camera_height=0.4)
    assert mount.from_camera("lidar", moment).translation.tolist() == [1, 2, 3]
    np.testing.assert_array_equal(mount.from_camera(CAMERA_FRAME, moment).rotation, np.eye(3))
    assert mount.from_camera("base_link", moment).translation[2] == 0.4
    with pytest.raises(TransformError, match="'nowhere'"):
        mount.from_camera("nowhere", moment)


def frame_of(depth_m: np.ndarray, camera: Camera, bundle) -> DepthFrame:
    """A frame whose planes are given, at the network's size."""
    rectification = Rectification(camera, False, (camera.width, camera.height))
    nothing = np.zeros_like(depth_m)
    return DepthFrame(
        depth_m,
        rectification.network_camera,
        None,
        depth_m,
        depth_m,
        nothing,
        nothing,
        {},
        {},
        rectification,
        bundle,
    )


def floor_depth(camera: Camera, pose: Pose) -> np.ndarray:
    """(h, w) float32 depth of an endless floor; where there is only sky a wall at 30 m."""
    rows, columns = np.mgrid[: camera.height, : camera.width]
    rays = np.stack(
        [(columns - camera.cx) / camera.fx, (rows - camera.cy) / camera.fy, np.ones(rows.shape)],
        axis=-1,
    )
    drop = -rays @ pose.up_in_source
    with np.errstate(divide="ignore"):
        depth = np.where(drop > 0, pose.translation[2] / drop, 30.0)
    return np.minimum(depth, 30.0).astype(np.float32)


def test_the_floor_stands_in_for_a_while_where_neither_tf_nor_parameters_say(listening, bundle):
    transforms, _ = listening({})
    mount = Mount(transforms)
    camera = Camera.from_horizontal_fov(bundle.width, bundle.height, 1.1)
    true = Pose.from_mount(0.6, math.radians(15.0), math.radians(3.0))
    seen = frame_of(floor_depth(camera, true), camera, bundle)
    wall = frame_of(np.full_like(seen.network_depth_m, 2.0), camera, bundle)
    up = lambda: np.array([0.0, -1.0, -0.2])  # noqa: E731

    with pytest.raises(TransformError, match="nowhere|does not exist.*no floor is in view"):
        mount.camera_pose_or_floor(wall, up, moment_at(bundle, 4.0))
    found = mount.camera_pose_or_floor(seen, up, moment_at(bundle, 5.0))
    assert found.source == "floor"
    assert found.base_from_camera.translation[2] == pytest.approx(0.6, rel=0.01)
    assert found.base_from_camera.up_in_source == pytest.approx(true.up_in_source, abs=0.01)
    held = mount.camera_pose_or_floor(wall, up, moment_at(bundle, 5.0 + FLOOR_HELD_S))
    assert held.base_from_camera is found.base_from_camera
    with pytest.raises(TransformError, match="camera_height is not given.*no floor is in view"):
        mount.camera_pose_or_floor(wall, up, moment_at(bundle, 5.1 + FLOOR_HELD_S))
    mount.camera_pose_or_floor(seen, up, moment_at(bundle, 8.0))
    mount.reset()
    with pytest.raises(TransformError, match="no floor is in view"):
        mount.camera_pose_or_floor(wall, up, moment_at(bundle, 8.0))
