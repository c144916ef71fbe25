"""Says what this machine has, and what `engine: auto` will choose and why."""

from __future__ import annotations

import argparse
import shutil
import sys
import textwrap
from dataclasses import asdict
from typing import Any

from depthrefl_ros.tools import machine, machine_ros
from depthrefl_ros.tools.command_line import (
    ToolError,
    add_json_argument,
    make_parser,
    run_tool,
    write_json,
)

EXAMPLES = """
doctor
doctor --model my_models/outdoor --json doctor.json
doctor --build
"""
NOTHING_RUNS = 1
_MARKS = {"ok": "ok", "missing": "--", "warning": "WARN", "error": "ERROR"}
_FLAVOURS = ("tensorrt", "tensorrt_rtx")


def _parser() -> argparse.ArgumentParser:
    description = f"{__doc__} Ends with exit code {NOTHING_RUNS} if no engine runs."
    parser = make_parser("doctor", description, EXAMPLES)
    parser.add_argument("--model", default="indoor_tiny", help="a shipped model, or a folder")
    parser.add_argument(
        "--build", action="store_true", help="build the TensorRT engine now if it is missing"
    )
    add_json_argument(parser, "everything found")
    return parser


def _main(args: argparse.Namespace, _: list[str]) -> int:
    found = []
    width = min(shutil.get_terminal_size().columns, 120)
    for finding in (*machine.findings(), *machine_ros.findings()):
        found.append(finding)
        _print_row(_MARKS[finding.state], finding.name, finding.text, width)
    choice = choose(args.model, args.build)
    print()
    for step in choice["steps"]:
        _print_row("", "auto", step, width)
    _print_row("ok" if choice["can_run"] else "ERROR", "auto", choice["says"], width)
    write_json(args.json, {"findings": [asdict(one) for one in found], "auto": choice})
    return 0 if choice["can_run"] else NOTHING_RUNS


def _print_row(mark: str, name: str, text: str, width: int) -> None:
    head = f"{mark:5} {name:13} "
    print(textwrap.fill(text, width, initial_indent=head, subsequent_indent=" " * len(head)))


def choose(model: str, build: bool) -> dict[str, Any]:
    """What ``auto`` does on this machine, by letting it: every engine tried is self-tested.

    Args:
        model: name or folder of the bundle.
        build: build a TensorRT engine that is not in the cache.

    Returns:
        ``can_run``; ``engine``, ``precision`` and ``device`` of what runs now; ``needs_build``, the
        engine that ``auto`` will build first; ``steps``; ``problems``; ``says``, a sentence.

    Raises:
        ToolError: there is no such model, or its files are damaged.
    """
    chosen: dict[str, Any] = {
        "can_run": False,
        "engine": "",
        "precision": "",
        "device": "",
        "needs_build": "",
        "steps": [],
        "problems": [],
    }
    try:
        from depthrefl_ros.engine.base import EngineError
        from depthrefl_ros.engine.bundle import Bundle, BundleError
        from depthrefl_ros.engine.selection import EngineChoice, open_engine
    except ImportError as error:
        return {**chosen, "says": f"no engine: {error.name} is not installed"}
    try:
        bundle = Bundle.load(model)
        unbuilt = "" if build else _unbuilt(bundle)
        opened = open_engine(
            bundle,
            EngineChoice(build="auto" if build else "never"),
            on_step=chosen["steps"].append,
        )
    except BundleError as error:
        raise ToolError(str(error)) from error
    except EngineError as error:
        return {**chosen, "says": str(error)}
    engine = opened.engine
    chosen |= {
        "can_run": True,
        "engine": engine.name,
        "precision": engine.precision,
        "device": engine.device,
        "needs_build": unbuilt,
        "problems": opened.problems,
    }
    says = f"{engine.name} in {engine.precision} on {engine.device} runs model {bundle.name}"
    if unbuilt:
        says = (
            f"{unbuilt} will be built and tested at the first start (or now, with --build); "
            f"if that fails, {says}"
        )
    engine.close()
    return {**chosen, "says": says}


def _unbuilt(bundle: Any) -> str:
    """The TensorRT flavour that ``auto`` would build first here; empty where none is missing."""
    from depthrefl_ros.engine.base import EngineError
    from depthrefl_ros.engine.cache import CacheError, EngineCache
    from depthrefl_ros.engine.plan_key import engine_key
    from depthrefl_ros.engine.tensorrt_api import find_flavour

    for flavour in _FLAVOURS:
        if not find_flavour(flavour).can_run:
            continue
        try:
            is_built = EngineCache().find(engine_key(bundle, flavour, "fp16")) is not None
        except EngineError:  # it cannot be built either
            continue
        except CacheError:
            is_built = False
        return "" if is_built else flavour
    return ""


def main(argv: list[str] | None = None) -> int:
    """Runs the tool; returns the exit code."""
    return run_tool(_parser(), argv, _main)


if __name__ == "__main__":
    sys.exit(main())
