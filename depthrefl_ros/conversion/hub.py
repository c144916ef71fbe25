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
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from depthrefl_ros.conversion.checkpoint_folder import (
    CARD,
    CONFIG,
    INDEX,
    PROCESSOR,
    WEIGHTS,
    read_json,
    stated_licence,
)
from depthrefl_ros.conversion.families import read_recipes
from depthrefl_ros.conversion.meaning import ConversionError
from depthrefl_ros.conversion.original_names import PUBLISHED, choose_original
from depthrefl_ros.engine.bundle import file_digest

_SHA256 = re.compile(r"[0-9a-f]{64}")
_TOLD = 10  # names of files in a message


def fetch_checkpoint(name: str, endpoint: str | None = None, kind: str | None = None) -> Path:
    """Download what a conversion needs, unless it is in the cache already.

    That is what ``convert_folder`` reads, or the authors' file that ``find_original`` finds. A
    network that cannot be converted is refused before its weights come. A download that was cut off
    goes on where it stopped. Files of the cache are named by their SHA-256, which is checked.

    Args:
        name: ``owner/repository``.
        endpoint: URL of the Hub; None for that of the environment (``HF_ENDPOINT``).
        kind: that the user states; see ``read_recipes``.

    Returns:
        The folder with the files.

    Raises:
        ConversionError: there is no such repository or no network; says what to do without one.
        ImportError: ``huggingface_hub`` is not installed.
        OSError: the disk is full.
    """
    path = _fetch(name, CONFIG, endpoint, needed=False)
    _fetch(name, CARD, endpoint, needed=False)
    config = None if path is None else read_json(path)
    files = _published_files(name, endpoint) if path is None else []
    original = choose_original(config, files, name, name)
    if original is not None:
        found = _fetch(name, original, endpoint)
        assert found is not None  # _fetch raises for a needed file
        return found.parent
    if path is None:
        listed = ", ".join(sorted(files)[:_TOLD])
        raise ConversionError(
            f"{name} has neither {CONFIG} nor an authors' file whose name is known on the Hub, "
            f"such as {PUBLISHED[0]}; it has {listed}"
        )
    folder, processor = path.parent, _fetch(name, PROCESSOR, endpoint, needed=False)
    read_recipes(config, processor and read_json(processor), name, kind, stated_licence(folder))
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


def _published_files(name: str, endpoint: str | None) -> list[str]:
    """Return the authors' file of a repository that is in the cache, else all files on the Hub."""
    from huggingface_hub import HfApi, try_to_load_from_cache

    for one in PUBLISHED:
        if isinstance(try_to_load_from_cache(name, one), str):
            return [one]
    with _told(name, "its list of files"):
        return HfApi(endpoint).list_repo_files(name)


def _fetch(name: str, file: str, endpoint: str | None, needed: bool = True) -> Path | None:
    """Return the path of a file in the cache; None for one that is not there and not needed."""
    with _told(name, file, endpoint):
        from huggingface_hub import errors, hf_hub_download

        try:
            with warnings.catch_warnings():
                # A full disk ends in an error, which is told in one line.
                warnings.filterwarnings("ignore", "Not enough free disk space", UserWarning)
                path = Path(hf_hub_download(name, file, endpoint=endpoint))
        except errors.LocalEntryNotFoundError:
            if needed or not _is_cached(name):
                raise
            return None
        except errors.EntryNotFoundError:
            if needed:
                raise
            return None
    _check(path, name)
    return path


@contextmanager
def _told(name: str, file: str, endpoint: str | None = None) -> Iterator[None]:
    """Turn what goes wrong with a file of a repository into one line."""
    try:
        from huggingface_hub import constants, errors
    except ImportError as error:
        raise ImportError(
            f"--hub needs the package huggingface_hub ({error}): in the checkout, pip install "
            "'.[convert]'"
        ) from error
    try:
        yield
    except errors.LocalEntryNotFoundError as error:
        reason = _one_line(error.__cause__ or error)
        raise ConversionError(
            f"no network, and {name} is not in the cache ({reason}). On a machine with network "
            f"download {CONFIG}, {PROCESSOR} and {WEIGHTS[0]}, or the authors' one file, from "
            f"{endpoint or constants.ENDPOINT}/{name}/tree/main, put them into one folder here, "
            "and say --hub FOLDER"
        ) from error
    except errors.EntryNotFoundError as error:
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

    return try_to_load_from_cache(name, CONFIG) is not None  # or known not to be there


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
