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

"""The demo with the real node, and its parts."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy")

from conftest import RunningProcess
from recording_files import (
    HEIGHT,
    WIDTH,
    camera_recording,
    image_folder,
    image_message,
    info_message,
    picture,
    write_recording,
)

from depthrefl_ros.tools.command_line import ToolError
from depthrefl_ros.tools.demo import _parser, main
from depthrefl_ros.tools.demo_commands import node_arguments
from depthrefl_ros.tools.demo_report import is_of_demo
from depthrefl_ros.tools.overview import OverviewRow, colour_error, depth_range, draw_overview
from depthrefl_ros.tools.processes import (
    Children,
    cpu_times,
    free_domain,
    isolated_environment,
    share_busy,
)
from depthrefl_ros.tools.recordings import Recording, depth_from_message
from depthrefl_ros.tools.top_down import NavigationView
from depthrefl_ros.tools.truth import find_truth
from depthrefl_ros.training.metrics import depth_metrics

FRAMES = 12
RATE_HZ = 5.0
TRUTH_M = 2.5


def run_demo(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "depthrefl_ros.tools.demo", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=200)


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """Return the demo's folder, output and report for a small recording with truth."""
    folder = tmp_path_factory.mktemp("demo")
    source = camera_recording(folder / "drive.mcap", FRAMES, truth_m=TRUTH_M)
    done = run_demo(
        *("--source", str(source), "--output", str(folder / "out"), "--rate", str(RATE_HZ)),
        *("--camera-height", "0.5", "--camera-pitch", "4"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "out", done.stdout, json.loads((folder / "out" / "report.json").read_text())


def test_every_frame_comes_through_and_is_compared(demo):
    _, output, report = demo
    assert report["frames_in"] == FRAMES
    dropped = sum(report["dropped"].values())
    # On a busy machine the node drops frames, but every one of them is accounted for.
    assert report["frames_in"] == report["frames_out"] + dropped
    assert not {"not_received", "not_recorded", "counted_twice"} & set(report["dropped"])
    if os.getloadavg()[0] < 1.5 * len(os.sched_getaffinity(0)):
        assert dropped == 0
    assert report["frames_compared"] == report["frames_out"]
    assert 0.0 < report["rate_hz"] < 1.2 * RATE_HZ
    assert 0.0 < report["latency_ms_p50"] <= report["latency_ms_p99"]
    assert report["model"] == "indoor_tiny"
    assert report["engine"].startswith(("openvino", "torch"))
    assert 0.0 <= report["delta1"] <= 1.0
    for line in (
        f"frames          {FRAMES} in, ",
        "kept up with 5.0 Hz: ",
        " % of pixels within 25 %",
    ):
        assert line in output


def test_accuracy_is_that_of_the_recorded_depth(demo):
    folder, _, report = demo
    truth = np.full((HEIGHT, WIDTH), TRUTH_M, np.float32)
    truth[0] = 0.0
    with Recording(folder / "demo.mcap") as recording:
        errors = [
            depth_metrics(depth_from_message(message, topic), truth)["abs_rel"]
            for topic, message in recording.messages("/depth/image")
        ]
    assert len(errors) == report["frames_compared"]
    assert report["abs_rel"] == pytest.approx(float(np.mean(errors)), rel=1e-6)


def test_files_are_named_and_can_be_opened(demo):
    folder, output, _ = demo
    for name in ("overview.png", "cloud.ply", "demo.mcap", "report.json"):
        assert str(folder / name) in output
        assert (folder / name).stat().st_size > 0
    overview = cv2.imread(str(folder / "overview.png"))
    assert overview.shape[1] > 4 * 400 + 250  # camera, depth, truth, error, from above
    if hasattr(cv2, "imreadanimation"):
        found, moving = cv2.imreadanimation(str(folder / "overview.webp"))
        frames_out = json.loads((folder / "report.json").read_text())["frames_out"]
        assert found and 1 <= len(moving.frames) <= min(frames_out, 16)
        assert all((one != moving.frames[0]).any() for one in moving.frames[1:])


def test_the_recording_has_what_nav2_gets(demo):
    folder, _, _ = demo
    with Recording(folder / "demo.mcap") as recording:
        counts = {topic: recording.count(topic) for topic in recording.topics}
        depths = counts["/depth/image"]
        obstacles = {counts[topic] for topic in ("/points/marking", "/points/clearing", "/scan")}
        # One more where the recorder still heard that the camera has stopped.
        assert obstacles <= {depths, depths + 1}
        assert counts["/tf_static"] == 1 and counts["/diagnostics"] > 0
        (transform,) = recording.first("/tf_static").transforms
        assert (transform.header.frame_id, transform.child_frame_id) == (
            "base_footprint",
            recording.first("/depth/image").header.frame_id,
        )
        assert recording.first("/scan").header.frame_id == "base_footprint"


def test_pictures_are_all_taken_one_after_the_other_and_a_bad_one_is_named(tmp_path):
    folder = image_folder(tmp_path / "photos", 5, with_intrinsics=False)
    (folder / "rgb" / "0003.png").write_bytes(b"no picture")
    done = run_demo("--source", str(folder), "--output", str(tmp_path / "out"))
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert (report["frames_in"], report["frames_out"], report["dropped"]) == (4, 4, {})
    assert "0003.png" in report["left_out"][0] and "0003.png" in done.stdout
    assert report["assumed_hfov_deg"] == 60.0
    assert "distances       assume a horizontal field of view of 60 degrees" in done.stdout
    assert "at most 2 GB (--max-gigabytes)" in done.stdout.split("starting the node")[0]
    # Once more into the same folder: it is the demo's own.
    picture_path = str(folder / "rgb" / "0001.png")
    done = run_demo("--source", picture_path, "--output", str(tmp_path / "out"))
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert (report["frames_in"], report["frames_out"], report["dropped"]) == (1, 1, {})


@pytest.mark.parametrize("after", ["starting the node", "playing"])
def test_ctrl_c_leaves_results_or_a_clear_line(tmp_path, after):
    source = camera_recording(tmp_path / "drive.mcap", 60)
    log = tmp_path / "log.txt"
    arguments = ("--source", str(source), "--output", str(tmp_path / "out"), "--rate", "3")
    process = RunningProcess(log, "depthrefl_ros.tools.demo", *arguments)
    try:
        end = time.monotonic() + 60
        while after not in process.output() and time.monotonic() < end:
            time.sleep(0.05)
        time.sleep(3.0 if after == "playing" else 0.0)
        code = process.stop(signal.SIGINT, timeout=60)
    finally:
        process.stop()
    if after == "playing":
        assert code == 0, process.output()
        report = json.loads((tmp_path / "out" / "report.json").read_text())
        assert 0 < report["frames_out"] <= report["frames_in"] < 60
        assert "stopped after" in process.output()
    else:
        assert code == 2
        last = process.output().strip().splitlines()[-1]
        assert last.endswith("stopped before the node was ready; nothing was recorded")


def test_live_shows_a_page_until_ctrl_c_and_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = camera_recording(tmp_path / "drive.mcap", 6)
    log = tmp_path / "log.txt"
    before = {*tmp_path.iterdir(), log}
    arguments = ("--live", "--port", "0", "--source", str(source), "--model", "indoor_nano")
    process = RunningProcess(log, "depthrefl_ros.tools.demo", *arguments)
    try:
        end = time.monotonic() + 60
        while "watching /depthrefl" not in process.output():
            assert time.monotonic() < end, process.output()
            time.sleep(0.05)
        address = process.output().split("open ")[1].split()[0]
        with urllib.request.urlopen(address, timeout=5) as answer:
            assert b"<title>depthrefl" in answer.read()
        code = process.stop(signal.SIGINT, timeout=30)
    finally:
        process.process.kill()
    assert code == 0, process.output()
    assert process.output().strip().endswith("view: ended")
    assert set(tmp_path.iterdir()) == before


def test_live_tells_a_taken_port_in_the_pages_words(tmp_path, capfd):
    source = camera_recording(tmp_path / "drive.mcap", 2)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert main(["--live", "--port", port, "--source", str(source)]) == 2
    assert f"127.0.0.1:{port}: Address already in use" in capfd.readouterr().err


def test_an_output_folder_that_is_not_the_demos_stays_as_it_is(tmp_path, capsys):
    for name, content in (("report.json", '{"grade": "A"}'), ("report.json", "[]"), ("x", "")):
        folder = tmp_path / f"folder_{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        (folder / name).write_text(content)
        assert main(["--output", str(folder)]) == 2
        assert f"holds other things ({name}), which stay" in capsys.readouterr().err
        assert (folder / name).read_text() == content


def test_the_demo_knows_its_own_folder_and_that_of_a_run_that_failed(tmp_path):
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "node.txt").touch()
    assert is_of_demo(tmp_path)
    (tmp_path / "logs" / "precious.txt").touch()
    assert not is_of_demo(tmp_path)
    (tmp_path / "report.json").write_text('{"made_by": "depthrefl demo"}')
    assert is_of_demo(tmp_path)


def test_a_photographs_cloud_is_thinned_until_it_passes():
    args = _parser().parse_args(["--camera-height", "0.5", "--output-size", "network"])
    small, large = node_arguments(args, 640 * 480), node_arguments(args, 4000 * 3000)
    assert not any("cloud_stride" in text for text in small)
    assert "cloud_stride:=4" in large
    for text in ("camera_height:=0.5", "base_frame:=base_footprint", "output_size:=network"):
        assert text in small


@pytest.mark.parametrize("domain", ["-1", "233", "x"])
def test_what_is_no_domain_is_refused(domain, capsys):
    with pytest.raises(SystemExit):
        main(["--domain", domain])
    assert "--domain" in capsys.readouterr().err


def test_how_busy_the_cores_are():
    assert share_busy((100, 1000), (110, 1100)) == pytest.approx(0.9)
    assert share_busy(None, None) is None
    assert cpu_times() is None or cpu_times()[1] > 0


def test_a_node_that_cannot_start_ends_the_demo_with_its_own_words(tmp_path, capfd):
    source = camera_recording(tmp_path / "a.mcap", 2)
    arguments = ["--source", str(source), "--output", str(tmp_path / "out")]
    assert main([*arguments, "--model", str(tmp_path / "no_such_bundle")]) == 2
    message = capfd.readouterr().err
    assert "node could not start" in message
    assert "no_such_bundle" in message


def test_missing_source_is_told_before_anything_starts(tmp_path, capsys):
    assert main(["--source", "/no/such/drive.mcap", "--output", str(tmp_path / "out")]) == 2
    assert "/no/such/drive.mcap: no such file" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_children_end_with_the_block_even_if_they_do_not_want_to(tmp_path, monkeypatch):
    monkeypatch.setattr("depthrefl_ros.tools.processes.STOP_WITHIN_S", 0.5)
    stubborn = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); print('up', "
    stubborn += "flush=True); time.sleep(60)"
    with pytest.raises(KeyError), Children(tmp_path) as children:
        child = children.start("stubborn", "-c", stubborn)
        while "up" not in child.output():
            time.sleep(0.02)
        raise KeyError
    assert child.process.returncode == -signal.SIGKILL


def test_a_child_that_fails_is_shown_with_the_end_of_its_output(tmp_path):
    with Children(tmp_path) as children:
        child = children.start("brief", "-c", "print('last words'); raise SystemExit(3)")
        child.wait(20)
        with pytest.raises(ToolError, match=r"brief ended with code 3.*\n  \| last words"):
            children.check()


def test_the_domain_is_one_of_its_own():
    assert 1 <= free_domain() <= 100
    shared = isolated_environment(7, localhost=False)
    assert shared["ROS_DOMAIN_ID"] == "7"
    assert not {"ROS_LOCALHOST_ONLY", "ROS_AUTOMATIC_DISCOVERY_RANGE"} & set(shared)
    environment = isolated_environment()
    assert environment.get("ROS_AUTOMATIC_DISCOVERY_RANGE") == "LOCALHOST" or (
        environment["ROS_LOCALHOST_ONLY"] == "1"
    )


def test_truth_of_a_plain_folder_is_found_by_name(tmp_path):
    folder = image_folder(tmp_path / "f", 2)
    assert find_truth(str(folder)) is None
    (folder / "depth").mkdir()
    millimetres = np.array([[0, 1250]], np.uint16)
    cv2.imwrite(str(folder / "depth" / "0001.png"), millimetres)
    cv2.imwrite(str(folder / "depth" / "ku\u0308che.PNG"), millimetres)  # as macOS writes it
    truth = find_truth(str(folder))
    assert truth.depth_m({"name": "0000"}) is None
    assert truth.depth_m({"name": "k\u00fcche"}).shape == (1, 2)
    np.testing.assert_array_equal(
        truth.depth_m({"name": "0001"}), np.array([[np.nan, 1.25]], np.float32)
    )
    cv2.imwrite(str(folder / "depth" / "0000.png"), millimetres.astype(np.uint8))
    truth = find_truth(str(folder))
    with pytest.raises(ToolError, match=r"0000\.png: is no 16 bit PNG"):
        truth.depth_m({"name": "0000"})


def test_error_colours_say_which_side():
    truth = np.array([[2.0, 2.0, 2.0, np.nan]], np.float32)
    near, right, far, unknown = colour_error(
        np.array([[1.0, 2.0, 3.0, 2.0]], np.float32), truth
    ).astype(int)[0]
    assert near[2] > near[0] + 100  # red
    assert right.min() > 240  # white
    assert far[0] > far[2] + 100  # blue
    assert unknown.tolist() == [90, 90, 90]


def test_overview_has_truth_columns_only_with_truth():
    depth = np.full((HEIGHT, WIDTH), np.nan, np.float32)
    nothing = OverviewRow(picture(0), depth, None, "frame 0")
    assert depth_range([nothing]) == (0.5, 10.0)
    narrow = draw_overview([nothing], "nothing believed")
    wide = draw_overview([nothing, OverviewRow(picture(1), depth, depth + 2.0, "frame 1")], "")
    assert wide.shape[1] - narrow.shape[1] == 2 * 408
    points = np.zeros((0, 3))
    view = NavigationView(points, points, np.zeros(2))
    seen = draw_overview([OverviewRow(picture(0), depth, None, "frame 0", view)], "")
    assert narrow.shape[1] + 250 < seen.shape[1] < narrow.shape[1] + 400
    warned = draw_overview([nothing], "nothing believed", "assumed")
    assert (warned.astype(int) - narrow)[:, :, 1].min() < -100 and warned.shape == narrow.shape
    assert narrow.dtype == np.uint8


def test_a_camera_that_gives_no_depth_is_told_with_the_reason(tmp_path, capfd):
    infos = [info_message(number) for number in range(8)]
    for info in infos:
        info.k[:] = 0.0
    topics = {"/camera/image_raw": [image_message(n) for n in range(8)]}
    source = write_recording(tmp_path / "a.mcap", {**topics, "/camera/camera_info": infos})
    assert main(["--source", str(source), "--output", str(tmp_path / "out")]) == 2
    message = capfd.readouterr().err
    assert "no depth image came before the stop" in message
    assert "K is all zero" in message
    assert not (tmp_path / "out" / "demo.mcap").exists()
