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

"""Plants one fault at a time and runs the tests that should notice: which faults survive?

Each entry of ``mutations.yaml`` changes one place of the code: a comparison, a sign, a constant, an
argument that is dropped. A copy of the package with the fault goes through the named tests. A fault
that no test notices is a behaviour that nobody guards.

    python benchmark/mutations.py                     # all, about half an hour on two cores
    python benchmark/mutations.py --only ros/robot    # those of one file
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from depthrefl_ros.tools.command_line import (
    ToolError,
    add_json_argument,
    make_parser,
    run_tool,
    write_json,
)

ROOT = Path(__file__).resolve().parents[1]
LIST = Path(__file__).with_suffix(".yaml")
PACKAGE = "depthrefl_ros"
LINKED = (f"{PACKAGE}/models", "test/data")  # large, and never changed
COPIED = (PACKAGE, "test", "benchmark", "config", "launch", "setup.py", "setup.cfg", "package.xml")
TIMEOUT_S = 300
_NOTICED, _UNNOTICED = 1, 0  # exit codes of pytest


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; see ``--help``."""
    return run_tool(_parser(), argv, _run)


def _parser() -> argparse.ArgumentParser:
    parser = make_parser(
        "mutations",
        "Plant faults one by one and see which of them the tests notice.",
        "python benchmark/mutations.py --only geometry/gates --json mutations.json",
    )
    parser.add_argument("--only", default="", metavar="TEXT", help="files whose path contains it")
    parser.add_argument("--list", type=Path, default=LIST, help="default %(default)s")
    add_json_argument(parser, "every fault and what became of it")
    return parser


def _run(args: argparse.Namespace, _ros_args: list[str]) -> None:
    mutations = [one for one in load(args.list) if args.only in one["file"]]
    results = []
    with tempfile.TemporaryDirectory(prefix="mutations-") as folder:
        tree = Path(folder)
        copy_tree(tree)
        tests = sorted({one["test"] for one in mutations})
        for test in tests:
            if run_test(tree, test) != _UNNOTICED:
                raise ToolError(f"{test} fails without any fault; mend it first")
        for number, one in enumerate(mutations, 1):
            start_s = time.monotonic()
            noticed = plant(tree, one)
            results.append({**one, "noticed": noticed})
            word = "noticed " if noticed else "SURVIVES"
            took = f"{time.monotonic() - start_s:3.0f} s"
            place = f"{number:3}/{len(mutations)}"
            print(f"{place} {took} {word} {one['file']}: {one['new']}", flush=True)
    killed = sum(one["noticed"] for one in results)
    print(f"{killed} of {len(results)} faults are noticed ({100 * killed / len(results):.0f} %)")
    write_json(args.json, results)


def load(path: Path) -> list[dict[str, str]]:
    """Read the list, and check that each place is there exactly once.

    Raises:
        ToolError: an entry does not fit the code any more.
    """
    mutations = yaml.safe_load(path.read_text(encoding="utf-8"))
    for one in mutations:
        found = (ROOT / PACKAGE / one["file"]).read_text(encoding="utf-8").count(one["old"])
        if found != 1:
            raise ToolError(
                f"{path}: {one['old']!r} stands {found} times in {one['file']}, not once"
            )
    return mutations


def copy_tree(target: Path) -> None:
    """Copy what the tests need; models and data are linked."""
    skipped = shutil.ignore_patterns("models", "data", "__pycache__", "*.egg-info")
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=skipped)
        else:
            shutil.copy(source, target / name)
    for name in LINKED:
        os.symlink(ROOT / name, target / name)


def plant(tree: Path, mutation: dict[str, str]) -> bool:
    """Return whether the tests notice a fault; the tree is left as it was."""
    path = tree / PACKAGE / mutation["file"]
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace(mutation["old"], mutation["new"]), encoding="utf-8")
    try:
        return run_test(tree, mutation["test"]) == _NOTICED
    finally:
        path.write_text(text, encoding="utf-8")


def run_test(tree: Path, test: str) -> int:
    """Run test files (``test_x.py test_y.py -k word``) in a tree; returns pytest's exit code."""
    words = re.sub(r"(?<!\S)(?=test_\w+\.py)", "test/", test).split()
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *words]
    environment = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        return subprocess.run(
            command, cwd=tree, env=environment, capture_output=True, timeout=TIMEOUT_S
        ).returncode
    except subprocess.TimeoutExpired:
        return _NOTICED


if __name__ == "__main__":
    sys.exit(main())
