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

"""TF: with tf2 really absent, as on PyPI, and where it is installed on tf2.

The look-ups themselves are tested on an object that answers as ``tf2_ros.Buffer`` is documented to.
"""

import importlib.util
import math
import threading
import time

import pytest
from builtin_interfaces.msg import Time as Stamp
from transform_buffer import TransformBuffer, transform

from depthrefl_ros.ros import transforms as module
from depthrefl_ros.ros.transforms import TransformError, Transforms

BASE, CAMERA_FRAME = "base_link", "camera_optical_frame"
LINK = (BASE, CAMERA_FRAME)
HAS_TF2 = importlib.util.find_spec("tf2_ros") is not None


def soon_s(seconds: float) -> float:
    """Return a deadline."""
    return time.monotonic() + seconds


@pytest.fixture
def listening(peer):
    """Return transforms and what they ask."""
    made = []

    def make(known):
        buffer = TransformBuffer(known)
        made.append(Transforms(peer.node, buffer.open))
        return made[-1], buffer

    yield make
    for transforms in made:
        transforms.close()  # which may be called again


@pytest.mark.skipif(HAS_TF2, reason="tf2 is installed here")
def test_without_tf2_the_error_says_that_it_is_missing(peer):
    transforms = Transforms(peer.node)
    assert "tf2's Python package is not installed" in transforms.missing
    with pytest.raises(TransformError) as caught:
        transforms.find(*LINK, Stamp(), deadline_s=soon_s(5.0))  # nothing to wait for
    assert "'camera_optical_frame' to 'base_link': tf2's Python package" in str(caught.value)
    assert not caught.value.is_known
    transforms.close()


@pytest.mark.skipif(not HAS_TF2, reason="tf2's Python package is not on PyPI")
def test_with_tf2_a_published_mount_is_found(peer):
    from tf2_ros import StaticTransformBroadcaster

    message = transform((0.1, 0.0, 0.5), (-0.5, 0.5, -0.5, 0.5))
    message.header.frame_id, message.child_frame_id = LINK
    broadcaster = StaticTransformBroadcaster(peer.node)
    broadcaster.sendTransform(message)
    transforms = Transforms(peer.node)
    found = []

    def look() -> bool:
        try:
            found.append(transforms.find(*LINK, Stamp(sec=7)))
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
    known = {LINK: transform((0.0, 0.0, 0.5))}
    transforms, _ = listening(known)
    first = transforms.find(*LINK, Stamp(sec=5))
    assert transforms.find(*LINK, Stamp(sec=5)) is first
    known[LINK] = transform((0.0, 0.0, 0.6))
    assert transforms.find(*LINK, Stamp(sec=5)).translation[2] == 0.6
    assert first.translation[2] == 0.5


@pytest.mark.parametrize(
    "frames, last_s, complaint, is_known",
    [
        ((BASE, "nowhere"), math.inf, "from 'nowhere' to 'base_link'.*does not exist", False),
        (LINK, 4.0, "to 'base_link'.*extrapolation into the future", True),
        ((BASE, "broken"), math.inf, "'broken'.*quaternion is x=0.*of length 0", False),
    ],
)
def test_what_cannot_be_looked_up_is_told_with_both_frames(
    listening, frames, last_s, complaint, is_known
):
    transforms, buffer = listening(
        {LINK: transform(), (BASE, "broken"): transform(turn=(0.0, 0.0, 0.0, 0.0))}
    )
    buffer.last_s = last_s
    with pytest.raises(TransformError, match=complaint) as caught:
        transforms.find(*frames, Stamp(sec=5))
    assert caught.value.is_known == is_known


def test_an_unknown_link_is_not_waited_for(listening):
    transforms, _ = listening({})
    start_s = time.monotonic()
    with pytest.raises(TransformError) as caught:
        transforms.find(*LINK, Stamp(sec=5), deadline_s=soon_s(5.0))
    assert time.monotonic() - start_s < 1.0
    assert not caught.value.is_known


def test_a_link_that_may_move_is_waited_for_and_then_missed(listening):
    transforms, buffer = listening({LINK: transform((0.0, 0.0, 0.5))})
    buffer.last_s = 5.0
    transforms.find(*LINK, Stamp(sec=5))
    start_s = time.monotonic()
    with pytest.raises(TransformError, match="extrapolation into the future") as caught:
        transforms.find(*LINK, Stamp(sec=6), deadline_s=soon_s(0.2))
    assert 0.2 <= time.monotonic() - start_s < 1.0
    assert caught.value.is_known  # TF knows the two: nothing else may stand in
    late = threading.Timer(0.1, setattr, (buffer, "last_s", 6.0))
    late.start()
    assert transforms.find(*LINK, Stamp(sec=6), deadline_s=soon_s(5.0)).translation[2] == 0.5
    assert time.monotonic() - start_s < 3.0
    late.join()


def test_a_link_that_nothing_comes_of_is_not_waited_for_any_longer(listening, monkeypatch):
    monkeypatch.setattr(module, "_SILENT_S", 0.25)
    transforms, buffer = listening({LINK: transform((0.0, 0.0, 0.5))})
    buffer.last_s = 5.0
    transforms.find(*LINK, Stamp(sec=5))

    def waited_s(stamp_s: int) -> float:
        start_s = time.monotonic()
        with pytest.raises(TransformError, match="extrapolation into the future"):
            transforms.find(*LINK, Stamp(sec=stamp_s), deadline_s=soon_s(0.1))
        return time.monotonic() - start_s

    assert waited_s(6) >= 0.1
    time.sleep(0.3)
    assert waited_s(7) < 0.1
    buffer.last_s = 8.0  # something has come, if late
    assert waited_s(10) >= 0.1
    buffer.last_s = 11.0
    transforms.find(*LINK, Stamp(sec=11))
    assert waited_s(12) >= 0.1


def look_often(transforms, last_s: int = 5) -> None:
    """Look at a link for as long, and as often, as it takes to believe that it is fixed."""
    end_s = time.monotonic() + module._FIXED_AFTER_S
    looks = 0
    while time.monotonic() < end_s or looks <= module._FIXED_AFTER_LOOKS:
        transforms.find(*LINK, Stamp(sec=last_s))
        looks += 1
        time.sleep(0.01)


@pytest.fixture
def soon(monkeypatch):
    """Let a link count as fixed sooner, so that tests are fast."""
    monkeypatch.setattr(module, "_FIXED_AFTER_S", 0.2)


def test_a_fixed_link_holds_later_than_tf_has_come(listening, soon, monkeypatch):
    transforms, buffer = listening({LINK: transform((0.0, 0.0, 0.5))})
    buffer.last_s = 5.0
    look_often(transforms)
    start_s = time.monotonic()
    assert transforms.find(*LINK, Stamp(sec=6), deadline_s=soon_s(5.0)).translation[2] == 0.5
    assert time.monotonic() - start_s < 1.0
    assert transforms.held_s(*LINK) == 0.0  # it came until now: the clocks may differ
    monkeypatch.setattr(module, "_SILENT_S", 0.0)
    assert transforms.held_s(*LINK) == 1.0
    transforms.find(*LINK, Stamp(sec=605))
    assert transforms.held_s(*LINK) == 600.0
    transforms.find(*LINK, Stamp(sec=5))
    assert transforms.held_s(*LINK) == 0.0 == transforms.held_s("elsewhere", CAMERA_FRAME)
    # Its first move ends that: what TF had before is no longer true of a later image.
    buffer.known[LINK] = transform((0.0, 0.0, 0.6))
    with pytest.raises(TransformError) as caught:
        transforms.find(*LINK, Stamp(sec=6))
    assert caught.value.is_known


def test_rounding_is_no_movement_and_a_slow_drift_is(listening, soon):
    transforms, buffer = listening({LINK: transform((0.45, 0.0, 0.37), (0.0, 0.0, 0.0, 1.0))})
    first = transforms.find(*LINK, Stamp(sec=5))
    for number in range(1, 100):  # as tf2 interpolates between two transforms that are the same
        share = number / 100
        shift = [(1.0 - share) * value + share * value for value in (0.45, 0.0, 0.37)]
        buffer.known[LINK] = transform(shift, (0.0, 0.0, 0.0, (-1.0) ** number))
        assert transforms.find(*LINK, Stamp(sec=5)) is first
    buffer.last_s = 5.0
    look_often(transforms)
    assert transforms.find(*LINK, Stamp(sec=6)) is first
    for number in range(1, 11):
        buffer.known[LINK] = transform((0.45 + 3e-10 * number, 0.0, 0.37))
        transforms.find(*LINK, Stamp(sec=5))
    with pytest.raises(TransformError):
        transforms.find(*LINK, Stamp(sec=6))


def test_a_link_that_has_moved_never_counts_as_fixed(listening, soon):
    transforms, buffer = listening({LINK: transform((0.0, 0.0, 0.5))})
    buffer.last_s = 5.0
    transforms.find(*LINK, Stamp(sec=4))
    buffer.known[LINK] = transform((0.0, 0.0, 0.6))
    look_often(transforms)
    with pytest.raises(TransformError):
        transforms.find(*LINK, Stamp(sec=6))


def test_a_link_seen_a_moment_ago_does_not_count_as_fixed(listening):
    transforms, buffer = listening({LINK: transform((0.0, 0.0, 0.5))})
    buffer.last_s = 5.0
    for _ in range(2 * module._FIXED_AFTER_LOOKS):
        transforms.find(*LINK, Stamp(sec=5))
    with pytest.raises(TransformError):
        transforms.find(*LINK, Stamp(sec=6))


def test_listening_begins_at_once_in_the_executors_thread(peer):
    threads = []

    def open_buffer(_node):
        threads.append(threading.current_thread())
        return TransformBuffer({}), lambda: None

    transforms = Transforms(peer.node, open_buffer)
    assert threads == [threading.current_thread()]
    transforms.close()


def test_after_a_jump_of_the_clock_poses_are_forgotten_and_that_tf_knows_them_is_not(
    listening, soon
):
    transforms, buffer = listening({LINK: transform()})
    buffer.last_s = 5.0
    look_often(transforms)
    transforms.forget()
    assert buffer.was_cleared and not buffer.was_unregistered
    with pytest.raises(TransformError) as caught:  # it has to be seen standing still anew
        transforms.find(*LINK, Stamp(sec=6))
    assert caught.value.is_known
    transforms.forget()
    buffer.known.clear()
    with pytest.raises(TransformError) as caught:
        transforms.find(*LINK, Stamp(sec=5))
    assert caught.value.is_known


def test_close_ends_the_listening(listening):
    transforms, buffer = listening({LINK: transform()})
    transforms.close()
    assert buffer.was_unregistered
    with pytest.raises(TransformError):
        transforms.find(*LINK, Stamp(sec=5))
