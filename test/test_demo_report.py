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

"""What the demo says of a run: every frame accounted for, figures in words."""

import numpy as np
import pytest

pytest.importorskip("rclpy")

from depthrefl_ros.tools.demo_evaluation import Evaluation
from depthrefl_ros.tools.demo_report import Circumstances, account, make_report, table, title
from depthrefl_ros.training.metrics import depth_metrics

TRUTH = np.full((50, 20), 2.0, np.float32)
DEPTH = TRUTH * np.where(np.arange(1000).reshape(50, 20) < 824, 1.1, 1.3).astype(np.float32)
METRICS = depth_metrics(DEPTH, TRUTH)  # 82.4 % of the pixels 10 % off, the others 30 %


@pytest.mark.parametrize(
    ("frames_in", "frames_out", "diagnostics", "expected"),
    [
        (10, 10, {"processed": "10"}, {}),
        (10, 7, {"processed": "7", "dropped_superseded": "3"}, {"superseded": 3}),
        (
            10,
            7,
            {"processed": "8", "dropped_superseded": "2"},
            {"superseded": 2, "not_recorded": 1},
        ),
        (64, 63, {"processed": "63", "dropped_bad_image": "0"}, {"not_received": 1}),
        (
            10,
            6,
            {"processed": "7", "dropped_too_old": "1"},
            {"too_old": 1, "not_recorded": 1, "not_received": 2},
        ),
        (3, 0, {}, {"not_received": 3}),
        (
            3,
            3,
            {"processed": "3", "dropped_superseded": "1"},
            {"superseded": 1, "counted_twice": -1},
        ),
    ],
)
def test_every_frame_is_accounted_for(frames_in, frames_out, diagnostics, expected):
    dropped = account(frames_in, frames_out, diagnostics)
    assert dropped == expected
    assert frames_in == frames_out + sum(dropped.values())


def report(
    out=10,
    busy=0.97,
    still=False,
    assumed=None,
    frames=None,
    rate=11.2,
    model="indoor_tiny",
    nav2=True,
    size=None,
    mount=None,
):
    source = {
        "source": "/drives/kitchen.mp4",
        "frames": 30,
        "rate_hz": 30.0,
        "skipped": ["2.jpg: x"],
    }
    diagnostics = {"engine": "openvino fp32 on Intel(R) Xeon(R) CPU @ 2.0GHz", "model": model}
    diagnostics |= {"model_licence": "research", "received": "30", "processed": str(out)}
    diagnostics["dropped_superseded"] = str(30 - out)
    diagnostics |= {"mount": mount} if mount else {}
    record = {"frames": out, "rate_hz": rate, "latency_ms_p50": 70.4, "latency_ms_p99": 115.2}
    marks = {"marks_per_frame": 312.4 if nav2 else None, "marks_wrong": 0.406 if nav2 else None}
    evaluation = Evaluation(frames or {}, "" if frames else "the source has no true depth")
    circumstances = Circumstances(assumed, still, 2, busy, None, size)
    record["diagnostics"] = diagnostics
    return make_report(source, record, evaluation, marks, circumstances)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (
            {},
            "kept up with 30.0 Hz: no, 11.2 Hz; this machine's 2 cores are 97 % busy: take "
            "--output-size network or --model indoor_nano",
        ),
        ({"model": "indoor_nano"}, "97 % busy: take --output-size network\n"),
        ({"size": "network"}, "97 % busy: take --model indoor_nano\n"),
        ({"size": "network", "model": "indoor_nano"}, "97 % busy: take a lower --rate\n"),
        ({"busy": 0.4}, "no, 11.2 Hz; this machine's 2 cores are 40 % busy\n"),
        ({"busy": None}, "kept up with 30.0 Hz: no, 11.2 Hz\n"),
        ({"out": 29}, "kept up with 30.0 Hz: yes\n"),
        ({"still": True}, "11.2 images/s, each as soon as the one before was done\n"),
        ({"rate": None}, "speed           - (one frame)\n"),
        ({"frames": {1: METRICS}}, "82 % of pixels within 25 % of the truth; mean error 14 %"),
        ({}, "accuracy        unknown: the source has no true depth"),
        ({"assumed": 60.0}, "distances       assume a horizontal field of view of 60 degrees"),
        ({}, "frames          30 in, 10 out, 20 dropped\n                  20 superseded\n"),
        ({}, "left out        2.jpg: x\n"),
        ({"mount": "0.50 m up"}, "mount told      0.50 m up\n"),
        ({"mount": "not told: why"}, "mount told      not told: why\n"),
        ({}, "for Nav2        312 cells marked a frame; 41 % of them more than 0.15 m from the "),
        ({}, "delay           70 ms from image to depth; 99 % within 115 ms\n"),
    ],
)
def test_the_table_says_it_in_words(options, line):
    assert line in table(report(**options)) + "\n"


def test_a_model_that_takes_no_mount_is_not_asked_for_it():
    assert report()["mount_told"] == report(mount="not taken by this model")["mount_told"]
    assert "mount" not in table(report(mount="not taken by this model"))


def test_what_nav2_did_not_get_is_not_spoken_of():
    assert "Nav2" not in table(report(nav2=False))


def test_the_title_names_source_model_engine_and_accuracy():
    text = title(report(frames={1: METRICS}))
    assert text.split("   |   ") == [
        "kitchen.mp4",
        "indoor_tiny, openvino fp32 on Intel Xeon",
        "82 % of pixels within 25 % of the truth",
    ]
