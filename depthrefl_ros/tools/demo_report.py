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

"""What a run of the demo says: its figures, and a table of them for people."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.ros.pipeline import NOT_TAKEN
from depthrefl_ros.tools.demo_evaluation import Evaluation
from depthrefl_ros.tools.occupancy import TOLERANCE_M
from depthrefl_ros.training.metrics import mean_metrics

MADE_BY = "depthrefl demo"
LOGS = ("source.txt", "record.txt", "node.txt", "source.json", "record.json")
KEPT_UP = 0.95  # of the frames came through
BUSY = 0.85  # of the cores' time: nothing is left to compute with


def is_of_demo(folder: Path) -> bool:
    """Tell whether a folder holds results of an earlier demo, or logs of one that failed."""
    try:
        content = json.loads((folder / "report.json").read_text(encoding="utf-8"))
        return isinstance(content, dict) and content.get("made_by") == MADE_BY
    except FileNotFoundError:
        files = {path.relative_to(folder).as_posix() for path in folder.rglob("*")}
        return bool(files) and files <= {"logs", *(f"logs/{name}" for name in LOGS)}
    except (OSError, ValueError):
        return False


@dataclass(frozen=True)
class Circumstances:
    """What else is known of a run.

    Attributes:
        assumed_hfov_deg: the field of view that was assumed, degrees; None where it was known.
        is_still: pictures without a time of their own, played as fast as the node took them.
        cores: that the demo might use.
        busy: share of all cores' time that was used meanwhile, 0 to 1; None where unknown.
        mount: of the camera over the floor; None where unknown.
        output_size: that the node was told; None for its own.
    """

    assumed_hfov_deg: float | None
    is_still: bool
    cores: int
    busy: float | None
    mount: Pose | None
    output_size: str | None = None


def account(frames_in: int, frames_out: int, diagnostics: dict[str, str]) -> dict[str, int]:
    """Return why frames did not come out, so that in = out + the sum, exactly.

    The node counts what it dropped by reason. What it computed and nobody recorded is
    ``not_recorded``; what is then still missing never came to it: ``not_received``.

    Args:
        frames_in: published by the camera.
        frames_out: depth images that were recorded.
        diagnostics: the node's last values.
    """
    dropped = {
        key[len("dropped_") :]: int(value)
        for key, value in diagnostics.items()
        if key.startswith("dropped_") and int(value)
    }
    missing = frames_in - frames_out - sum(dropped.values())
    unrecorded = min(max(missing, 0), max(0, int(diagnostics.get("processed", 0)) - frames_out))
    if unrecorded:
        dropped["not_recorded"] = unrecorded
    if missing - unrecorded > 0:
        dropped["not_received"] = missing - unrecorded
    elif missing < 0:
        dropped["counted_twice"] = missing
    return dropped


def make_report(
    source: dict[str, Any],
    record: dict[str, Any],
    evaluation: Evaluation,
    marks: dict[str, Any],
    circumstances: Circumstances,
) -> dict[str, Any]:
    """Return the content of ``report.json``.

    Args:
        source: of ``camera_source --json``.
        record: of ``record --json``.
        evaluation: of ``evaluate``.
        marks: of ``judge_marks``.
        circumstances: of the run.
    """
    means = mean_metrics(list(evaluation.frames.values()))
    diagnostics = record["diagnostics"]
    frames_in, frames_out = source["frames"], record["frames"]
    return {
        "made_by": MADE_BY,
        "source": source["source"],
        "frames_in": frames_in,
        "frames_out": frames_out,
        "dropped": account(frames_in, frames_out, diagnostics),
        "frames_received_by_node": int(diagnostics.get("received", 0)),
        "left_out": source["skipped"],
        "source_rate_hz": source["rate_hz"],
        "rate_hz": record["rate_hz"],
        "kept_up": None if circumstances.is_still else frames_out >= KEPT_UP * frames_in,
        "cores": circumstances.cores,
        "cores_busy": circumstances.busy,
        "output_size": circumstances.output_size,
        "latency_ms_p50": record["latency_ms_p50"],
        "latency_ms_p99": record["latency_ms_p99"],
        "abs_rel": means.get("abs_rel"),
        "delta1": means.get("delta1"),
        "rmse_m": means.get("rmse"),
        "silog": means.get("silog"),
        "coverage": means.get("coverage"),
        "frames_compared": len(evaluation.frames),
        "comparison_note": evaluation.note,
        **marks,
        "assumed_hfov_deg": circumstances.assumed_hfov_deg,
        "engine": diagnostics.get("engine"),
        "model": diagnostics.get("model"),
        "model_licence": diagnostics.get("model_licence"),
        "camera": diagnostics.get("camera"),
        "mount_told": diagnostics.get("mount", NOT_TAKEN),
        "last_problem": diagnostics.get("last_problem", ""),
    }


def table(report: dict[str, Any]) -> str:
    """Return the report as lines of name and value, in words."""
    dropped = sum(report["dropped"].values())
    lines = [
        ("source", report["source"]),
        ("model", f"{report['model']} ({report['model_licence']})"),
        ("engine", report["engine"]),
        *([] if report["mount_told"] == NOT_TAKEN else [("mount told", report["mount_told"])]),
        ("frames", f"{report['frames_in']} in, {report['frames_out']} out, {dropped} dropped"),
        *(("", f"{number} {name}") for name, number in report["dropped"].items()),
        *(("left out", reason) for reason in report["left_out"]),
        ("speed", speed_in_words(report)),
    ]
    if report["latency_ms_p50"] is not None:
        p50, p99 = report["latency_ms_p50"], report["latency_ms_p99"]
        lines.append(("delay", f"{p50:.0f} ms from image to depth; 99 % within {p99:.0f} ms"))
    lines.append(("accuracy", accuracy_in_words(report)))
    if report["marks_per_frame"] is not None:
        lines.append(("for Nav2", marks_in_words(report)))
    if report["assumed_hfov_deg"] is not None:
        lines.append(("distances", assumption_in_words(report)))
    return "\n".join(f"  {name:<16}{value}" for name, value in lines)


def speed_in_words(report: dict[str, Any]) -> str:
    """Return how fast it was, and what helps where that was too slow."""
    rate = report["rate_hz"]
    if rate is None:
        return "- (one frame)"
    if report["kept_up"] is None:
        return f"{rate:.1f} images/s, each as soon as the one before was done"
    wanted = report["source_rate_hz"]
    if report["kept_up"]:
        return f"kept up with {wanted:.1f} Hz: yes"
    text = f"kept up with {wanted:.1f} Hz: no, {rate:.1f} Hz"
    busy = report["cores_busy"]
    if busy is None:
        return text
    cores = f"this machine's {report['cores']} cores are {busy:.0%} busy".replace("%", " %")
    if busy < BUSY:
        return f"{text}; {cores}"
    advice = [] if report["output_size"] == "network" else ["--output-size network"]
    if report["model"] != "indoor_nano":
        advice.append("--model indoor_nano")
    return f"{text}; {cores}: take {' or '.join(advice) or 'a lower --rate'}"


def accuracy_in_words(report: dict[str, Any]) -> str:
    """Return how right the depth was, or why that is unknown."""
    if not report["frames_compared"]:
        return f"unknown: {report['comparison_note']}"
    return (
        f"{100 * report['delta1']:.0f} % of pixels within 25 % of the truth; mean error "
        f"{100 * report['abs_rel']:.0f} % (AbsRel {report['abs_rel']:.3f}); "
        f"{report['frames_compared']} frames, {100 * report['coverage']:.0f} % of their pixels"
    )


def marks_in_words(report: dict[str, Any]) -> str:
    """Return how many cells were marked for Nav2, and how many of them wrongly."""
    text = f"{report['marks_per_frame']:.0f} cells marked a frame"
    if report["marks_wrong"] is None:
        return text
    return (
        f"{text}; {100 * report['marks_wrong']:.0f} % of them more than {TOLERANCE_M:g} m from the "
        "truth"
    )


def assumption_in_words(report: dict[str, Any]) -> str:
    """Return what the distances rest on where the field of view was assumed."""
    return (
        f"assume a horizontal field of view of {report['assumed_hfov_deg']:g} degrees, and are as "
        "wrong as that guess is (--hfov, --camera-info)"
    )


def warning(report: dict[str, Any]) -> str:
    """Return what stands in red on the picture."""
    if report["assumed_hfov_deg"] is None:
        return ""
    return f"distances assume a horizontal field of view of {report['assumed_hfov_deg']:g} degrees"


def title(report: dict[str, Any]) -> str:
    """Return what stands on top of the picture."""
    engine = re.sub(r"\((?:R|TM)\)|\bCPU\b|@.*", "", report["engine"] or "no engine")
    parts = [Path(report["source"]).name, f"{report['model']}, {' '.join(engine.split())}"]
    if report["frames_compared"]:
        parts.append(f"{100 * report['delta1']:.0f} % of pixels within 25 % of the truth")
    return "   |   ".join(parts)
