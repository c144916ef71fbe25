"""The evaluation protocol with networks whose answer is known."""

from __future__ import annotations

import json

import numpy as np
import pytest
from dataset_folders import write_plain_folder

from depthrefl_ros.tools import evaluate as tool
from depthrefl_ros.training.datasets import PlainFolder, Sample
from depthrefl_ros.training.evaluate import evaluate, kendall_tau, predictions, torch_infer

SIZE = (64, 48)  # width, height
FOCAL_PX = 120.0


def sample(depth_m: np.ndarray, focal_px: float = 60.0) -> Sample:
    height, width = depth_m.shape
    intrinsics = (focal_px, focal_px, width / 2 - 0.5, height / 2 - 0.5)
    return Sample("made", np.zeros((height, width, 3), np.uint8), depth_m, intrinsics)


def answering(depth_c: np.ndarray):
    """A network that always answers with this canonical depth (h, w)."""

    def infer(images: np.ndarray) -> dict[str, np.ndarray]:
        assert images.dtype == np.uint8 and images.shape[1:] == (SIZE[1], SIZE[0], 3)
        plane = np.broadcast_to(depth_c, (len(images), 1, *depth_c.shape)).astype(np.float32)
        return {"depth": plane, "sigma": plane * 0.1, "relative": plane / 100}

    return infer


def test_canonical_depth_becomes_metric_by_the_focal_length():
    truth = np.full((96, 128), 3.0, np.float32)
    # 128 pixels wide shrinks to 64: focal 60 becomes 30, so z = z_c * 30 / 120.
    answer = answering(np.full((48, 64), 12.0))
    ((_, prediction),) = predictions(answer, [sample(truth)], SIZE, FOCAL_PX)
    assert prediction.depth_m.shape == truth.shape
    assert np.allclose(prediction.depth_m, 3.0)
    assert np.allclose(prediction.sigma, 1.2)


def test_a_right_answer_has_no_error_and_a_wrong_one_has_its_own():
    rows = np.linspace(1.0, 3.0, 96, dtype=np.float32)[:, None].repeat(128, 1)
    answer = rows.reshape(48, 2, 64, 2).mean(axis=(1, 3)) * 4
    right = evaluate(answering(answer), [sample(rows)], SIZE, FOCAL_PX)
    assert right["abs_rel"] < 0.01 and right["delta1"] == 1.0 and right["images"] == 1
    assert right["tau_depth_truth"] > 0.98 and right["tau_relative_depth"] > 0.98
    wrong = evaluate(answering(answer * 1.5), [sample(rows)], SIZE, FOCAL_PX)
    assert wrong["abs_rel"] == pytest.approx(0.5, abs=0.01) and wrong["delta1"] == 0.0
    assert wrong["silog"] < 2.0  # a common factor is no scale-invariant error


def test_predictions_are_clamped_to_the_cap():
    truth = np.full((96, 128), 8.0, np.float32)
    figures = evaluate(answering(np.full((48, 64), 400.0)), [sample(truth)], SIZE, FOCAL_PX)
    assert figures["abs_rel"] == pytest.approx(0.25)


def test_unknown_and_far_truth_is_left_out():
    truth = np.full((96, 128), 3.0, np.float32)
    truth[:20], truth[20:40] = 0.0, 10.5
    figures = evaluate(answering(np.full((48, 64), 12.0)), [sample(truth)], SIZE, FOCAL_PX)
    assert figures["abs_rel"] == pytest.approx(0.0, abs=1e-6)


def test_figures_are_means_over_images_not_over_pixels():
    known, small = np.full((96, 128), 3.0, np.float32), np.zeros((96, 128), np.float32)
    small[50, 60] = 6.0  # one pixel, twice as far as predicted
    figures = evaluate(
        answering(np.full((48, 64), 12.0)), [sample(known), sample(small)], SIZE, FOCAL_PX
    )
    assert figures["abs_rel"] == pytest.approx(0.25) and figures["delta1"] == 0.5


def test_truth_that_nobody_knows_is_refused():
    with pytest.raises(ValueError, match="none of the 1 images"):
        evaluate(
            answering(np.ones((48, 64))), [sample(np.zeros((96, 128), np.float32))], SIZE, 120.0
        )


def test_a_torch_model_is_evaluated_in_evaluation_mode():
    import torch
    from torch import nn

    class Halves(nn.Module):
        """Depth is the red channel over two; refuses training mode."""

        def forward(self, image):
            assert not self.training and image.dtype == torch.float32
            from depthrefl_ros.network.model import DepthOutput

            depth = image[:, :1] / 2
            return DepthOutput(*[depth] * len(DepthOutput._fields))

    images = np.zeros((1, 48, 64, 3), np.uint8)
    images[..., 0] = 10
    output = torch_infer(Halves())(images)
    assert output["depth"].shape == (1, 1, 48, 64) and (output["depth"] == 5).all()


def test_kendall_tau_by_hand():
    first = np.array([[1.0, 2.0, 3.0, 3.0]])
    second = np.array([[10.0, 30.0, 20.0, 40.0]])
    pairs = np.array([[0, 0, 1, 2], [1, 2, 2, 3]])  # same, same, opposite, tied
    assert kendall_tau(first, second, pairs) == pytest.approx(1 / 3)
    assert kendall_tau(first, -second, pairs) == pytest.approx(-1 / 3)
    assert kendall_tau(first, first * 0, pairs) == 0.0


def test_the_command_evaluates_the_shipped_bundle(tmp_path, capsys):
    rooms = write_plain_folder(tmp_path / "rooms", count=2)
    report = tmp_path / "report.json"
    arguments = ["--plain", str(rooms), "--threads", "1", "--json", str(report)]
    assert tool.main(["--model", "indoor_tiny", *arguments]) == 0
    figures = json.loads(report.read_text())
    assert figures["images"] == 2 and figures["model"] == "indoor_tiny"
    assert figures["data_sha256"] == PlainFolder(rooms).fingerprint()
    assert "delta1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--nyu", "absent"], "--nyu needs --list"),
        (["--nyu", "absent", "--list", "absent.txt"], "absent.txt: list file missing"),
        (["--plain", "absent"], "intrinsics.yaml: missing"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(capsys, arguments, message):
    assert tool.main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error and len(error.splitlines()) == 1


def test_a_missing_bundle_is_named(tmp_path, capsys):
    rooms = write_plain_folder(tmp_path / "rooms", count=1)
    assert tool.main(["--model", str(tmp_path / "none"), "--plain", str(rooms)]) == 2
    assert "none" in capsys.readouterr().err
