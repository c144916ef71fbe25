"""The demo with the real node, and its parts."""

import json
import os
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy")

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
from depthrefl_ros.tools.demo import main
from depthrefl_ros.tools.demo_report import evaluate
from depthrefl_ros.tools.overview import OverviewRow, colour_error, depth_range, draw_overview
from depthrefl_ros.tools.processes import Children, free_domain, isolated_environment
from depthrefl_ros.tools.recordings import Recording, depth_from_message
from depthrefl_ros.tools.truth import find_truth
from depthrefl_ros.training.metrics import depth_metrics

FRAMES = 12
RATE_HZ = 5.0
TRUTH_M = 2.5


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The demo's folder, output and report for a small recording with truth."""
    folder = tmp_path_factory.mktemp("demo")
    source = camera_recording(folder / "drive.mcap", FRAMES, truth_m=TRUTH_M)
    done = subprocess.run(
        [sys.executable, "-m", "depthrefl_ros.tools.demo"]
        + ["--source", str(source), "--output", str(folder / "out"), "--rate", str(RATE_HZ)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "out", done.stdout, json.loads((folder / "out" / "report.json").read_text())


def test_every_frame_comes_through_and_is_compared(demo):
    _, output, report = demo
    assert report["frames_in"] == FRAMES
    dropped = sum(report["dropped"].values())
    if os.getloadavg()[0] < 1.5 * len(os.sched_getaffinity(0)):
        assert (report["frames_out"], dropped) == (FRAMES, 0)
    else:  # on a busy machine the node drops frames, but every one of them is accounted for
        assert report["frames_out"] == report["frames_received_by_node"] - dropped > 0
    assert report["frames_compared"] == report["frames_out"]
    assert 0.0 < report["rate_hz"] < 1.2 * RATE_HZ
    assert 0.0 < report["latency_ms_p50"] <= report["latency_ms_p99"]
    assert report["model"] == "indoor_tiny"
    assert report["engine"].startswith(("openvino", "torch"))
    assert 0.0 <= report["delta1"] <= 1.0
    for line in (f"frames in, out    {FRAMES}, ", "stamp to receipt", "AbsRel"):
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
    assert overview.shape[1] > 4 * 400


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
    truth = find_truth(str(folder))
    assert truth.depth_m({"name": "0000"}) is None
    np.testing.assert_array_equal(
        truth.depth_m({"name": "0001"}), np.array([[np.nan, 1.25]], np.float32)
    )
    cv2.imwrite(str(folder / "depth" / "0000.png"), millimetres.astype(np.uint8))
    with pytest.raises(ToolError, match=r"0000\.png: is no 16 bit PNG"):
        truth.depth_m({"name": "0000"})


def test_without_truth_nothing_is_compared(tmp_path):
    evaluation = evaluate(tmp_path / "never_read.mcap", [], None)
    assert evaluation.frames == {}
    assert evaluation.note == "the source has no true depth"


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
