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

"""Fetches a checkpoint from the Hub into the usual cache: resumed, checked, with progress."""

from __future__ import annotations

import errno
import json
import re
from pathlib import Path

from depthrefl_ros.conversion.checkpoint_folder import CARD, CONFIG, INDEX, PROCESSOR, WEIGHTS
from depthrefl_ros.conversion.meaning import ConversionError
from depthrefl_ros.engine.bundle import file_digest

_SHA256 = re.compile(r"[0-9a-f]{64}")
_OPTIONAL = (PROCESSOR, CARD)


def fetch_checkpoint(name: str, endpoint: str | None = None) -> Path:
    """Download what ``convert_folder`` needs, unless it is in the cache already.

    A download that was cut off goes on where it stopped. Files of the cache are named by their
    SHA-256, which is checked.

    Args:
        name: ``owner/repository``.
        endpoint: URL of the Hub; None for that of the environment (``HF_ENDPOINT``).

    Returns:
        The folder with the files.

    Raises:
        ConversionError: there is no such repository or no network; says what to do without one.
        ImportError: ``huggingface_hub`` is not installed.
        OSError: the disk is full.
    """
    folder = _fetch(name, CONFIG, endpoint).parent
    for optional in _OPTIONAL:
        _fetch(name, optional, endpoint, needed=False)
    for weights in WEIGHTS:
        if _fetch(name, weights, endpoint, needed=False):
            return folder
        index = _fetch(name, weights + INDEX, endpoint, needed=False)
        if index:
            parts = json.loads(index.read_text("utf-8")).get("weight_map", {}).values()
            for part in sorted(set(parts)):
                _fetch(name, part, endpoint)
            return folder
    raise ConversionError(f"{name} has neither {' nor '.join(WEIGHTS)} on the Hub")


def fetch_file(name: str, file: str, endpoint: str | None = None) -> Path:
    """Download one file of a repository; see ``fetch_checkpoint``."""
    found = _fetch(name, file, endpoint)
    assert found is not None  # _fetch raises for a needed file
    return found


def _fetch(name: str, file: str, endpoint: str | None, needed: bool = True) -> Path | None:
    """Return the path of a file in the cache; None for one that is not there and not needed."""
    try:
        from huggingface_hub import constants, errors, hf_hub_download
    except ImportError as error:
        raise ImportError(
            f"--hub needs the package huggingface_hub ({error}): in the checkout, pip install "
            "'.[convert]'"
        ) from error
    try:
        path = Path(hf_hub_download(name, file, endpoint=endpoint))
    except errors.LocalEntryNotFoundError as error:
        if not needed and _is_cached(name):
            return None
        reason = _one_line(error.__cause__ or error)
        raise ConversionError(
            f"no network, and {name} is not in the cache ({reason}). On a machine with network "
            f"download {CONFIG}, {PROCESSOR} and {WEIGHTS[0]} from "
            f"{endpoint or constants.ENDPOINT}/{name}/tree/main, put them into one folder here, "
            "and say --hub FOLDER"
        ) from error
    except errors.EntryNotFoundError as error:
        if not needed:
            return None
        raise ConversionError(f"{name} has no {file} on the Hub") from error
    except errors.GatedRepoError as error:
        raise ConversionError(
            f"{name} asks you to accept its terms on its page first; then `hf auth login`"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise ConversionError(
            f"there is no {name} on the Hub, no such folder here, or you may not see it"
        ) from error
    except (errors.HFValidationError, ValueError) as error:
        raise ConversionError(
            f"{name!r} is no name on the Hub (OWNER/REPOSITORY) and no folder here"
        ) from error
    except OSError as error:  # full disks, and the package's own errors of HTTP
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise ConversionError(
            f"{file} of {name} cannot be downloaded: {_one_line(error)}"
        ) from error
    except Exception as error:  # of the package's HTTP client, when a connection breaks
        raise ConversionError(
            f"the download of {file} of {name} broke off ({_one_line(error)}); the same command "
            "goes on where it stopped"
        ) from error
    _check(path, name)
    return path


def _check(path: Path, name: str) -> None:
    """Hold a file to its name in the cache, which for large ones is its SHA-256."""
    blob = path.resolve()
    if not _SHA256.fullmatch(blob.name):
        return
    digest = file_digest(blob)
    if digest != blob.name:
        path.unlink()
        blob.unlink()
        raise ConversionError(
            f"{path.name} of {name} arrived damaged: SHA-256 {digest[:16]}... where the Hub says "
            f"{blob.name[:16]}...; it was removed, run the same command again"
        )


def _is_cached(name: str) -> bool:
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache(name, CONFIG), str)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
