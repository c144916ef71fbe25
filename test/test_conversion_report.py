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

"""Figures and the picture that `convert` ends with, on the shipped model and known depth."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from exact_bundle import encoded, exact_bundle

from depthrefl_ros.engine.bundle import Bundle
from depthrefl_ros.engine.openvino_engine import OpenVinoEngine
from depthrefl_ros.estimator import DepthEstimator
from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.tools.conversion_report import draw_comparison, exam_figures

TRAVEL = Path(__file__).parent / "data" / "travel"


@pytest.fixture(scope="module")
def ours():
    bundle = Bundle.load("indoor_tiny")
    engine = OpenVinoEngine(bundle)
    yield engine, bundle
    engine.close()


def test_figures_follow_depth_that_is_known(ours, tmp_path):
    """Truth made of the network's own depth gives no error; truth half as far gives 100 %."""
    engine, bundle = ours
    name = "a/0"
    camera = {"width": 320, "height": 240, "fx": 250.0, "fy": 250.0, "cx": 159.5, "cy": 119.5}
    source = next(iter(sorted(TRAVEL.glob("rgb/*/*.jpg"))))
    image = cv2.resize(cv2.imread(str(source)), (320, 240))
    for part in ("rgb/a", "depth/a"):
        (tmp_path / part).mkdir(parents=True)
    (tmp_path / "intrinsics.yaml").write_text(yaml.safe_dump({"images": {name: camera}}))
    cv2.imwrite(str(tmp_path / f"rgb/{name}.jpg"), image)
    seen = cv2.imread(str(tmp_path / f"rgb/{name}.jpg"))[..., ::-1]
    depth = DepthEstimator(engine, bundle).estimate(seen, Camera.pinhole(**camera)).ungated_m
    depth = cv2.resize(depth, (320, 240), interpolation=cv2.INTER_LINEAR)
    for factor, error, share in ((1.0, 0.0, 1.0), (0.5, 1.0, 0.0)):
        truth = np.nan_to_num(1000.0 * factor * depth).astype(np.uint16)
        cv2.imwrite(str(tmp_path / f"depth/{name}.png"), truth)
        figures = exam_figures(engine, bundle, tmp_path)
        assert figures.abs_rel == pytest.approx(error, abs=0.01)
        assert figures.delta1 == pytest.approx(share, abs=0.01)
    (tmp_path / f"depth/{name}.png").unlink()
    with pytest.raises(OSError, match="lacks rgb/a/0.jpg or depth/a/0.png"):
        exam_figures(engine, bundle, tmp_path)


@pytest.mark.parametrize("sky_rows", [0, 24, 72])
def test_what_a_network_calls_sky_has_no_error(tmp_path, sky_rows):
    """A third of a wall is taken for sky: the rest is right, and the figures say how much it is."""
    camera = Camera.from_horizontal_fov(96, 72, 1.1)
    metric = {"kind": "metric", "focal_px": None, "calibration": None}
    folder = exact_bundle(tmp_path / "exact", camera, ("depth", "sky"), **metric)
    picture = encoded(np.full((72, 96), 3.0, np.float32))
    picture[:sky_rows, :, 2] = 255
    for part in ("rgb", "depth"):
        (tmp_path / part).mkdir()
    values = {name: float(getattr(camera, name)) for name in ("fx", "fy", "cx", "cy")}
    content = {"images": {"a": {"width": 96, "height": 72, **values}}}
    (tmp_path / "intrinsics.yaml").write_text(yaml.safe_dump(content))
    lossless = cv2.imencode(".png", np.ascontiguousarray(picture[..., ::-1]))[1]
    (tmp_path / "rgb" / "a.jpg").write_bytes(lossless.tobytes())
    cv2.imwrite(str(tmp_path / "depth" / "a.png"), np.full((72, 96), 3000, np.uint16))
    bundle = Bundle.load(str(folder))
    engine = OpenVinoEngine(bundle, 1)
    figures = exam_figures(engine, bundle, tmp_path)
    engine.close()
    assert figures.seen == pytest.approx(1.0 - sky_rows / 72.0)
    if sky_rows < 72:
        assert figures.abs_rel < 1e-3 and figures.delta1 == 1.0
    else:
        assert np.isnan(figures.abs_rel) and np.isnan(figures.delta1)
    says = "of the 67 % that have a depth".replace(" %", "%") in str(figures)
    assert says == (sky_rows == 24)


def test_the_picture_has_every_network_beside_the_camera(ours):
    image = cv2.imread(str(next(iter(sorted(TRAVEL.glob("rgb/*/*.jpg"))))))[..., ::-1]
    frame = DepthEstimator(*ours).estimate(image, hfov_deg=70.0)
    one = draw_comparison({"a": frame}, image)
    two = draw_comparison({"a": frame, "b": frame}, image)
    assert one.shape[0] == two.shape[0] and two.shape[1] > one.shape[1] > image.shape[1]
    assert (two[:, : image.shape[1]] == one[:, : image.shape[1]]).all()
