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

"""Bytes of text files, whatever editor saved them."""

import pytest

from depthrefl_ros.text_files import decoded_text


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_the_usual_encodings_are_told_apart(encoding):
    assert decoded_text("Tür: 1\n".encode(encoding)) == "Tür: 1\n"


def test_what_is_no_text_is_refused():
    with pytest.raises(ValueError, match="not a text file"):
        decoded_text(b"\x89PNG\0\xff")
