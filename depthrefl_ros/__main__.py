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

"""``depthrefl COMMAND``, as an executable and by ``python -m depthrefl_ros``."""

import sys

INTERRUPTED = 130  # exit code of a shell's command that SIGINT ended


def main() -> int:
    """Run the command line; Ctrl-C ends it with one line, also while modules are imported."""
    try:
        from depthrefl_ros.tools.commands import main as run

        return run()
    except KeyboardInterrupt:
        print(" ".join(["depthrefl", *sys.argv[1:2]]) + ": interrupted", file=sys.stderr)
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
