"""What a run of the demo says: figures, a table for people, and the frames worth showing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from depthrefl_ros.ros.convert.camera_info import camera_from_info
from depthrefl_ros.ros.convert.images import compressed_image_to_array
from depthrefl_ros.tools.overview import OverviewRow
from depthrefl_ros.tools.recordings import Recording, depth_from_message, stamp_ns
from depthrefl_ros.tools.truth import Truth
from depthrefl_ros.training.metrics import depth_metrics, mean_metrics

DEPTH = "/depth/image"
IMAGE = "/camera/image_raw/compressed"
INFO = "/camera/camera_info"
OVERVIEW_ROWS = 4


@dataclass(frozen=True)
class Evaluation:
    """The results against the truth.

    Attributes:
        frames: metrics by stamp in nanoseconds, for frames that have truth.
        note: why there is nothing to compare, or empty.
    """

    frames: dict[int, dict[str, float]]
    note: str = ""


def evaluate(
    recording_path: Path, published: list[dict[str, Any]], truth: Truth | None
) -> Evaluation:
    """Compares every recorded depth image with the truth of its frame.

    Args:
        recording_path: what ``record`` wrote.
        published: ``stamps`` of ``camera_source --json``: which frame went out with which stamp.
        truth: of the source.
    """
    if truth is None:
        return Evaluation({}, "the source has no true depth")
    if is_distorted(recording_path):
        return Evaluation({}, "the truth is of the raw image, the depth of the rectified one")
    by_stamp = {frame["stamp_ns"]: frame for frame in published}
    frames = {}
    with Recording(recording_path) as recording:
        for topic, message in recording.messages(DEPTH):
            stamp = stamp_ns(message)
            true_depth = truth.depth_m(by_stamp[stamp]) if stamp in by_stamp else None
            if true_depth is not None:
                frames[stamp] = depth_metrics(depth_from_message(message, topic), true_depth)
    return Evaluation(frames, "" if frames else "no depth image has the stamp of a true one")


def is_distorted(recording_path: Path) -> bool:
    """Whether the camera's raw image differs from its rectified one."""
    with Recording(recording_path) as recording:
        for topic, info in recording.messages(INFO):
            return camera_from_info(info, topic).is_distorted
    return False


def make_report(
    source: dict[str, Any], record: dict[str, Any], evaluation: Evaluation
) -> dict[str, Any]:
    """The content of ``report.json``.

    Args:
        source: of ``camera_source --json``.
        record: of ``record --json``.
        evaluation: of ``evaluate``.
    """
    means = mean_metrics(list(evaluation.frames.values()))
    diagnostics = record["diagnostics"]
    return {
        "source": source["source"],
        "frames_in": source["frames"],
        "frames_out": record["frames"],
        "frames_received_by_node": int(diagnostics.get("received", 0)),
        "dropped": {
            key[len("dropped_") :]: int(value)
            for key, value in diagnostics.items()
            if key.startswith("dropped_")
        },
        "rate_hz": record["rate_hz"],
        "latency_ms_p50": record["latency_ms_p50"],
        "latency_ms_p99": record["latency_ms_p99"],
        "abs_rel": means.get("abs_rel"),
        "delta1": means.get("delta1"),
        "rmse_m": means.get("rmse"),
        "silog": means.get("silog"),
        "coverage": means.get("coverage"),
        "frames_compared": len(evaluation.frames),
        "comparison_note": evaluation.note,
        "engine": diagnostics.get("engine"),
        "model": diagnostics.get("model"),
        "model_licence": diagnostics.get("model_licence"),
        "camera": diagnostics.get("camera"),
    }


def table(report: dict[str, Any]) -> str:
    """The report as lines of name and value."""

    def shown(name: str, form: str) -> str:
        return "-" if report[name] is None else format(report[name], form)

    lines = [
        ("source", report["source"]),
        ("model", f"{report['model']} ({report['model_licence']})"),
        ("engine", report["engine"]),
        ("frames in, out", f"{report['frames_in']}, {report['frames_out']}"),
        ("dropped by node", ", ".join(f"{n} {why}" for why, n in report["dropped"].items()) or "0"),
        ("rate", f"{shown('rate_hz', '.2f')} Hz"),
        (
            "stamp to receipt",
            f"p50 {shown('latency_ms_p50', '.1f')} ms, p99 {shown('latency_ms_p99', '.1f')} ms",
        ),
    ]
    if report["frames_compared"]:
        lines += [
            ("AbsRel", f"{shown('abs_rel', '.3f')}"),
            ("delta1", f"{shown('delta1', '.3f')}"),
            (
                "compared",
                f"{report['frames_compared']} frames, {shown('coverage', '.1%')} of their pixels",
            ),
        ]
    else:
        lines.append(("AbsRel, delta1", f"- ({report['comparison_note']})"))
    return "\n".join(f"  {name:<18}{value}" for name, value in lines)


def overview_rows(
    recording_path: Path,
    published: list[dict[str, Any]],
    truth: Truth | None,
    evaluation: Evaluation,
) -> list[OverviewRow]:
    """A few frames spread over the run, with what the camera saw."""
    by_stamp = {frame["stamp_ns"]: frame for frame in published}
    with Recording(recording_path) as recording:
        stamps = [stamp_ns(message) for _, message in recording.messages(DEPTH)]
        pictures = {stamp_ns(message): message for _, message in recording.messages(IMAGE)}
        stamps = [stamp for stamp in stamps if stamp in pictures and stamp in by_stamp]
        # Neither the first nor the last, where a drive often stands still.
        places = (np.arange(OVERVIEW_ROWS) + 0.5) * len(stamps) / OVERVIEW_ROWS
        chosen = sorted({stamps[int(place)] for place in places}) if stamps else []
        rows = []
        for topic, message in recording.messages(DEPTH):
            stamp = stamp_ns(message)
            if stamp not in chosen:
                continue
            metrics = evaluation.frames.get(stamp)
            caption = f"frame {by_stamp[stamp]['name']}"
            if metrics:
                caption += f"   AbsRel {metrics['abs_rel']:.3f}   delta1 {metrics['delta1']:.3f}"
            rows.append(
                OverviewRow(
                    camera_bgr=compressed_image_to_array(pictures[stamp], IMAGE)[0],
                    depth_m=depth_from_message(message, topic),
                    truth_m=truth.depth_m(by_stamp[stamp]) if metrics and truth else None,
                    caption=caption,
                )
            )
    return rows
