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

"""Depth of a recording in the view of its colour camera: which topic, which view, which mount."""

import cv2
import numpy as np
import pytest
from drive_recording import COLOUR, DEPTH, Drive, image
from recording_files import image_message, truth_message, write_recording

from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.tools.command_line import ToolError
from depthrefl_ros.tools.recorded_depth import (
    ColourImage,
    DepthImages,
    find_depth_topic,
)
from depthrefl_ros.tools.recorded_infos import RecordedInfos
from depthrefl_ros.tools.recorded_transforms import RecordedTransforms
from depthrefl_ros.tools.recordings import Recording
from depthrefl_ros.tools.source_frame import camera_info_of


def topic_of(tmp_path, *topics: str, chosen: str | None = None) -> str:
    path = tmp_path / "a.mcap"
    kinds = {topic: [truth_message(0, 1.0)] for topic in topics}
    write_recording(path, {"/camera/image_raw": [image_message(0)], **kinds})
    with Recording(path) as recording:
        return find_depth_topic(recording, chosen)


def test_the_depth_topic_is_found_where_it_is_clear(tmp_path):
    aligned, other = "/camera/aligned_depth_to_color/image_raw", "/camera/depth/image_rect_raw"
    assert topic_of(tmp_path, other) == other
    assert topic_of(tmp_path, aligned, other) == aligned
    assert topic_of(tmp_path, other, f"{other}/compressedDepth") == other
    assert topic_of(tmp_path, "/x/depth_truth", other) == "/x/depth_truth"
    assert topic_of(tmp_path, aligned, other, chosen=other[1:]) == other
    with pytest.raises(ToolError, match=r"which topic is the depth\? Found /a/depth, /b/d"):
        topic_of(tmp_path, "/a/depth", "/b/depth")


class NoTransforms(RecordedTransforms):
    """TF of a recording that has none."""

    def __init__(self):
        self._links, self.frames = {}, set()


def colour_image(camera: Camera = COLOUR) -> ColourImage:
    pixels = np.zeros((camera.height, camera.width, 3), np.uint8)
    return ColourImage("0", pixels, camera, "colour", 0)


def depth_image(frame: str, camera: Camera = COLOUR, metres: float = 2.0):
    plane = np.full((camera.height, camera.width), metres, np.float32)
    return image(0, frame, plane, "32FC1")


class OneInfo(RecordedInfos):
    """The CameraInfo of a lens that does not change."""

    def __init__(self, camera: Camera):
        self._stamps, self._messages = [0], [camera_info_of(camera)]


def depth_of(info: Camera | None, is_registered: bool = False) -> DepthImages:
    infos = OneInfo(info) if info else None
    return DepthImages("/depth/image", NoTransforms(), None, infos, is_registered)


def test_depth_of_the_same_view_is_taken_as_it_is():
    for depth, message in (
        (depth_of(COLOUR), depth_image("colour")),
        (depth_of(None), depth_image("colour")),
        (depth_of(None), depth_image("")),
        (depth_of(DEPTH, is_registered=True), depth_image("elsewhere", DEPTH)),
    ):
        sample = depth.sample(message, colour_image())
        assert sample.depth_m.shape == (COLOUR.height, COLOUR.width)
        assert (sample.depth_m == 2.0).all()


def test_another_lens_in_the_same_frame_is_registered_without_tf():
    wide = Camera.from_horizontal_fov(COLOUR.width, COLOUR.height, 1.8)
    plane = np.zeros((COLOUR.height, COLOUR.width), np.float32)
    middle = slice(COLOUR.width // 4, 3 * COLOUR.width // 4)
    plane[:, middle] = 2.0
    sample = depth_of(wide).sample(image(0, "colour", plane, "32FC1"), colour_image())
    wider = wide.fx / COLOUR.fx  # half of the wide picture's width is more of the narrow one's
    expected = min(1.0, 0.5 / wider) * COLOUR.width
    assert np.count_nonzero(sample.depth_m[60]) == pytest.approx(expected, abs=3)


def test_without_camera_info_another_size_is_refused():
    message = depth_image("colour", DEPTH)
    with pytest.raises(
        ToolError, match=r"/depth/image: no camera info, and the depth is 128x96 in"
    ):
        depth_of(None).sample(message, colour_image())


def test_a_distorted_lens_is_rectified_with_its_depth():
    matrix = [[120.0, 0, 80], [0, 120.0, 60], [0, 0, 1]]
    camera = Camera(160, 120, np.array(matrix), np.array([-0.25, 0.06, 0, 0, 0]))
    plane = np.zeros((120, 160), np.float32)
    point, none = np.array([[0.4, 0.3, 1.0]]), np.zeros(3)
    u, v = cv2.projectPoints(point, none, none, camera.K, camera.D)[0].ravel()
    cv2.circle(plane, (round(u), round(v)), 4, 3.0, -1)
    sample = depth_of(None).sample(image(0, "colour", plane, "32FC1"), colour_image(camera))
    rows, columns = np.nonzero(sample.depth_m)
    assert columns.mean() == pytest.approx(120 * 0.4 + 80, abs=1.0)
    assert rows.mean() == pytest.approx(120 * 0.3 + 60, abs=1.0)
    assert sample.intrinsics == (120.0, 120.0, 80.0, 60.0)


LENS = Camera(
    160,
    120,
    np.array([[130.0, 0, 80], [0, 130.0, 60], [0, 0, 1]]),
    np.array([-0.3, 0.1, 0, 0, 0]),
)


def as_seen_through_the_lens(plane: np.ndarray) -> np.ndarray:
    """Return a rectified (120, 160) plane as ``LENS`` takes it."""
    pixels = np.stack(np.meshgrid(np.arange(160.0), np.arange(120.0)), -1).reshape(-1, 1, 2)
    places = cv2.undistortPoints(pixels, LENS.K, LENS.D, P=LENS.K).astype(np.float32)
    x, y = places.reshape(120, 160, 2).transpose(2, 0, 1)
    return cv2.remap(plane, x.copy(), y.copy(), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def columns(raw_image: bool, raw_depth: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return (120, 160) planes of each pixel's rectified column: of an image, and as depth."""
    plane = np.tile(np.arange(160, dtype=np.float32), (120, 1)) + 1.0
    seen = as_seen_through_the_lens(plane)
    return np.rint(seen if raw_image else plane), seen if raw_depth else plane


@pytest.mark.parametrize(
    "raw_image, raw_depth, with_info",
    [
        (True, True, True),
        (True, True, False),
        (True, False, True),
        (True, False, False),
        (False, False, True),
        (False, False, False),
        (False, True, True),  # without camera info nothing says how the depth is distorted
    ],
)
def test_image_and_depth_are_each_rectified_once(raw_image, raw_depth, with_info):
    picture, depth_m = columns(raw_image, raw_depth)
    colour = ColourImage(
        "0",
        np.repeat(picture.astype(np.uint8)[..., None], 3, 2),
        LENS if raw_image else LENS.rectified(),
        "colour",
        0,
    )
    topic = "/depth_registered/image_raw" if raw_depth else "/depth_registered/image_rect"
    depth = DepthImages(topic, NoTransforms(), None, OneInfo(LENS) if with_info else None, False)
    sample = depth.sample(image(0, "colour", depth_m, "32FC1"), colour)
    assert (sample.depth_m > 0).mean() > 0.95
    error = np.abs(sample.image[..., 0].astype(float) - sample.depth_m)[sample.depth_m > 0]
    assert np.median(error) < 0.6 and np.quantile(error, 0.99) < 2.0


def test_there_is_no_depth_where_rectifying_leaves_no_picture():
    bent = Camera(160, 120, LENS.K, np.array([0.5, 0, 0, 0, 0]))  # its corners lie outside
    colour = ColourImage("0", np.full((120, 160, 3), 255, np.uint8), bent, "colour", 0)
    depth = DepthImages("/depth/image_rect", NoTransforms(), None, OneInfo(bent), False)
    sample = depth.sample(depth_image("colour", LENS), colour)
    assert sample.depth_m[60, 80] == 2.0 and sample.depth_m[0, 0] == 0.0
    assert (sample.image[sample.depth_m > 0].mean(axis=-1) > 0).all()


def test_the_drive_has_its_depth_in_a_frame_of_its_own(tmp_path):
    path = Drive(count=1).write(tmp_path / "a.mcap")
    with Recording(path) as recording:
        assert find_depth_topic(recording, None) == "/depth/image_rect_raw"
        assert recording.first("/depth/image_rect_raw").header.frame_id == "depth"
