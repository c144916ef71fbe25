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

"""Report what this machine has, and which engine `engine: auto` will choose and why."""

from __future__ import annotations

import argparse
import shutil
import sys
import textwrap
from dataclasses import asdict
from typing import Any

from depthrefl_ros.tools import machine, machine_ros
from depthrefl_ros.tools.command_line import (
    add_json_argument,
    make_parser,
    positive_float,
    run_tool,
    write_json,
)

EXAMPLES = """
depthrefl doctor
depthrefl doctor --model my_models/outdoor --json doctor.json
depthrefl doctor --graph
"""
NOTHING_RUNS = 1
_MARKS = {"ok": "ok", "missing": "--", "warning": "WARN", "error": "ERROR"}
# Without ROS the tools run; with a ROS that is broken something was wanted that does not.
_NEEDED = ("libraries", "ROS")


def _parser() -> argparse.ArgumentParser:
    description = f"{__doc__} Ends with exit code {NOTHING_RUNS} if nothing can run."
    parser = make_parser("depthrefl doctor", description, EXAMPLES)
    parser.add_argument(
        "--model", default="indoor_tiny", help="name of a shipped model, or a bundle folder"
    )
    parser.add_argument(
        "--graph",
        action="store_true",
        help="look at the running system instead: camera, node and who listens",
    )
    parser.add_argument(
        "--listen",
        type=positive_float,
        default=5.0,
        metavar="S",
        help="seconds to listen, with --graph (default %(default)g)",
    )
    add_json_argument(parser, "everything found")
    return parser


def _main(args: argparse.Namespace, ros_args: list[str]) -> int:
    if args.graph:
        return _look_at_graph(args, ros_args)
    found = []
    width = min(shutil.get_terminal_size().columns, 120)
    for finding in (*machine.findings(), *machine_ros.findings()):
        found.append(finding)
        _print_row(_MARKS[finding.state], finding.name, finding.text, width)
    choice = choose(args.model)
    broken = [one.name for one in found if one.name in _NEEDED and one.state == "error"]
    if broken:
        says = f"the node cannot run, {' and '.join(broken)} must be fixed; {choice['says']}"
        choice |= {"can_run": False, "says": says}
    print()
    for step in choice["steps"]:
        _print_row("", "auto", step, width)
    _print_row("ok" if choice["can_run"] else "ERROR", "auto", choice["says"], width)
    if facts := choice["model"]:
        _print_row("", "model", _terms(facts), width)
    write_json(args.json, {"findings": [asdict(one) for one in found], "auto": choice})
    return 0 if choice["can_run"] else NOTHING_RUNS


def _look_at_graph(args: argparse.Namespace, ros_args: list[str]) -> int:
    from depthrefl_ros.tools.ros_node import tool_node
    from depthrefl_ros.tools.running_system import findings

    found = []
    width = min(shutil.get_terminal_size().columns, 120)
    with tool_node("depthrefl_doctor", ros_args) as node:
        for finding in findings(node, args.listen):
            found.append(finding)
            _print_row(_MARKS[finding.state], finding.name, finding.text, width)
    write_json(args.json, {"findings": [asdict(one) for one in found]})
    return NOTHING_RUNS if any(one.state == "error" for one in found) else 0


def _print_row(mark: str, name: str, text: str, width: int) -> None:
    head = f"{mark:5} {name:13} "
    print(textwrap.fill(text, width, initial_indent=head, subsequent_indent=" " * len(head)))


def _terms(facts: dict[str, Any]) -> str:
    low, high = facts["range_m"]
    text = f"{facts['name']}, {facts['bytes'] / 1e6:.0f} MB, for {low:g} to {high:g} m"
    text += ", int8 on OpenVINO and TensorRT if asked for: " if facts["has_int8"] else ": "
    return f"{text}{facts['licence']} (commercial use: {facts['commercial']}); {facts['origin']}"


def choose(model: str) -> dict[str, Any]:
    """Let ``auto`` choose on this machine: every engine tried is self-tested.

    Nothing is built.

    Args:
        model: name or folder of the bundle.

    Returns:
        ``can_run``; ``engine``, ``precision`` and ``device`` of what runs now; ``needs_build``, the
        engine that ``auto`` will build first; ``steps``; ``problems``; ``model``, what
        ``bundle_facts`` says of it; ``says``, a sentence.
    """
    chosen: dict[str, Any] = {
        "can_run": False,
        "engine": "",
        "precision": "",
        "device": "",
        "needs_build": "",
        "steps": [],
        "problems": [],
        "model": {},
    }
    try:
        from depthrefl_ros.engine.base import EngineError
        from depthrefl_ros.engine.bundle import Bundle, BundleError
        from depthrefl_ros.engine.selection import open_engine
        from depthrefl_ros.tools.stored_plans import StoredPlans
    except Exception as error:  # a broken numpy raises anything
        return {**chosen, "says": f"no engine: {error}"}
    plans = StoredPlans()
    try:
        bundle = Bundle.load(model)
        chosen["model"] = machine.bundle_facts(bundle)
        opened = open_engine(
            bundle, plans=plans, on_step=lambda step, is_problem: chosen["steps"].append(step)
        )
    except BundleError as error:
        return {**chosen, "says": str(error)}
    except EngineError as error:
        if not plans.unbuilt:
            return {**chosen, "says": str(error)}
        says = f"{_will_build(plans.unbuilt, model)}; until then nothing runs"
        return {**chosen, "can_run": True, "needs_build": plans.unbuilt, "says": says}
    engine = opened.engine
    says = f"{engine.name} in {engine.precision} on {engine.device} runs model {bundle.name}"
    if plans.unbuilt:
        says = f"{_will_build(plans.unbuilt, model)}; if that fails, {says}"
    chosen |= {
        "can_run": True,
        "engine": engine.name,
        "precision": engine.precision,
        "device": engine.device,
        "needs_build": plans.unbuilt,
        "problems": opened.problems,
        "says": says,
    }
    engine.close()
    return chosen


def _will_build(flavour: str, model: str) -> str:
    command = f"depthrefl build_engine --engine {flavour} --model {model}"
    return f"the first start builds and tests {flavour} (or now: {command})"


def main(argv: list[str] | None = None) -> int:
    """Run the tool; return the exit code."""
    return run_tool(_parser(), argv, _main)


if __name__ == "__main__":
    sys.exit(main())
