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

"""How a tool ends."""

import argparse
import subprocess
import sys

import pytest

from depthrefl_ros.tools.command_line import (
    port_number,
    positive_float,
    positive_int,
    whole_number,
)

TOOL = """
import os, sys
from depthrefl_ros.tools.command_line import make_parser, run_tool

def tool(args, ros_args):
    {code}

sys.exit(run_tool(make_parser("depthrefl test", "", ""), [], tool))
"""


def started(code: str) -> subprocess.Popen:
    command = [sys.executable, "-c", TOOL.format(code=code)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_tool_whose_reader_has_gone_ends_quietly():
    for code in (
        "[print('x' * 80, flush=True) for _ in range(100_000)]",  # while it prints
        "print('x')",  # with what it printed last
    ):
        process = started(code)
        process.stdout.close()
        assert process.wait(timeout=60) == 1
        assert process.stderr.read() == ""


def test_another_broken_pipe_is_an_error():
    process = started("ends = os.pipe(); os.close(ends[0]); os.write(ends[1], b'x')")
    told = process.communicate(timeout=60)[1]
    assert process.returncode == 2 and "depthrefl test: error: [Errno 32]" in told


def test_a_closed_standard_output_is_no_error():
    for code, told in (
        ("print('x')", ""),
        ("raise BrokenPipeError(32, 'Broken pipe')", "depthrefl test: error: [Errno 32]"),
    ):
        command = ["sh", "-c", 'exec "$@" >&-', "sh", sys.executable, "-c", TOOL.format(code=code)]
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=60)
        assert done.returncode == (2 if told else 0), done.stderr
        assert told in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (positive_float, "'x' must be a finite number above 0"),
        (positive_int, "'x' must be a whole number above 0"),
        (port_number, "'x' must be 0 to 65535"),
        (whole_number, "'x' must be a whole number, 0 or more"),
    ],
)
def test_what_is_no_number_is_refused_in_plain_words(kind, said):
    with pytest.raises(argparse.ArgumentTypeError, match=said):
        kind("x")
