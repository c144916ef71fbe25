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

"""What the launch files check and work out before anything is started.

Every function raises ``LaunchError`` with one line that names the argument, its value and what
would be right: ``ros2 launch`` prints it and ends, and nothing is left running.
"""

from __future__ import annotations

import difflib
import hashlib
import math
import os
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import yaml

from depthrefl_ros.engine.private_files import own_folder, write_whole
from depthrefl_ros.settings import SettingError, names_in

NODE = "depthrefl"
_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_TOPIC = re.compile(rf"(~?/)?{_NAME}(/{_NAME})*")
_SECTION = "ros__parameters"
_CLOSE = 0.8  # of difflib: a slip of the pen, and not another word
# Launch configurations that launch_ros makes itself; nobody has typed them.
_OF_LAUNCH_ROS = ("ros_namespace", "ros_remaps", "global_params")


class LaunchError(Exception):
    """An argument or an installation with which the launch file cannot start."""


def require_packages(needed_for: Mapping[str, str]) -> None:
    """Check that packages which not everybody has are installed.

    Args:
        needed_for: name of a package -> what asks for it.

    Raises:
        LaunchError: some are missing; says how to get them.
    """
    from ament_index_python.packages import PackageNotFoundError, get_package_prefix

    missing = []
    for package in needed_for:
        try:
            get_package_prefix(package)
        except PackageNotFoundError:
            missing.append(package)
    if missing:
        distribution = os.environ.get("ROS_DISTRO") or "$ROS_DISTRO"
        debian = " ".join(f"ros-{distribution}-{one.replace('_', '-')}" for one in missing)
        wanted = ", ".join(f"{one} (for {needed_for[one]})" for one in missing)
        raise LaunchError(f"not installed: {wanted}: sudo apt install {debian}")


def package_share(package: str) -> Path:
    """Return the share folder of a package that is installed (``require_packages``)."""
    from ament_index_python.packages import get_package_share_directory

    return Path(get_package_share_directory(package))


def truth(name: str, value: str) -> bool:
    """Return the truth value of a launch argument.

    Raises:
        LaunchError: it is neither true nor false.
    """
    if value.lower() not in ("true", "false"):
        raise LaunchError(f"{name} is {value!r}; it must be true or false")
    return value.lower() == "true"


def number(name: str, value: str) -> float:
    """Return the number that a launch argument is, whole or not.

    Raises:
        LaunchError: it is none, or not finite.
    """
    try:
        found = float(value)
    except ValueError:
        raise LaunchError(f"{name} is {value!r}; it must be a number") from None
    if not math.isfinite(found):
        raise LaunchError(f"{name} is {value!r}; it must be a finite number")
    return found


def one_of(name: str, value: str, choices: Collection[str]) -> str:
    """Return an argument that has to be one of several words.

    Raises:
        LaunchError: it is none of them.
    """
    if value not in choices:
        raise LaunchError(f"{name} is {value!r}; it must be one of {', '.join(choices)}")
    return value


def topic(name: str, value: str) -> str:
    """Return a topic's name, without the slash that a shell's completion leaves at its end.

    Raises:
        LaunchError: it is no name of a topic.
    """
    found = value.rstrip("/")
    if not _TOPIC.fullmatch(found):
        raise LaunchError(
            f"{name} is {value!r}; a topic's name has letters, digits, _ and / and no part of it "
            "begins with a digit"
        )
    return found


def namespace(name: str, value: str) -> str:
    """Return a namespace without slashes around it; empty stays empty.

    Raises:
        LaunchError: it is none.
    """
    found = value.strip("/")
    return topic(name, found) if found else ""


def pushed_namespace(configurations: Mapping[str, object]) -> str:
    """Return the namespace that ``PushRosNamespace`` sets, without slashes around it."""
    return str(configurations.get("ros_namespace") or "").strip("/")


def node_name(text: str) -> str:
    """Return a valid name of a node, made of another name such as a frame's."""
    return re.sub(r"^(?=[0-9]|$)", "_", re.sub(r"[^A-Za-z0-9_]", "_", text))


def existing_path(name: str, value: str) -> str:
    """Return the path of a file or folder that is there, ``~`` resolved.

    Raises:
        LaunchError: there is none.
    """
    path = Path(os.path.expanduser(value))
    if not path.exists():
        raise LaunchError(f"{name} is {value!r}: there is no such file or folder")
    return str(path)


def existing_file(name: str, value: str) -> str:
    """Return the path of a file that is there, ``~`` resolved.

    Raises:
        LaunchError: there is no such file.
    """
    path = Path(os.path.expanduser(value))
    if not path.is_file():
        raise LaunchError(f"{name} is {value!r}: there is no such file")
    return str(path)


def params_file(name: str, value: str, full_namespace: str) -> str:
    """Return the path of a parameter file whose section ``depthrefl`` counts in any namespace.

    ROS takes a section by the node's full name: ``depthrefl:`` is ``/depthrefl`` and means nothing
    to ``/robot/depthrefl``. Where the node runs in a namespace and its section is written without
    one, a copy names it in full.

    Args:
        name: of the launch argument.
        value: the path.
        full_namespace: of the node, without slashes around it; ``*`` in it is for any name, and
            a section of one node's full name counts more.

    Raises:
        LaunchError: there is no such file, or it is no parameter file.
    """
    path = existing_file(name, value)
    root = _composed(name, path, NODE)
    if not full_namespace:
        return path
    sections = {key.value for key, _ in root.value}
    wanted = f"/{full_namespace}/{NODE}"
    bare = [key for key, _ in root.value if key.value.strip("/") == NODE]
    if not bare or wanted in sections or wanted[1:] in sections:
        return path
    for key in bare:
        key.value = wanted
    if "*" in full_namespace:  # to ROS the last section counts that fits
        root.value.sort(key=lambda one: 1 if one[0] in bare else 2 * ("*" not in one[0].value))
    try:
        return _copied(root)
    except OSError as error:
        raise LaunchError(
            f"{name} names the node {NODE!r} without its namespace, and no copy can be written "
            f"({error}): name it {wanted} in {path}"
        ) from error


def section_file(sections: Mapping[str, Mapping[str, object]]) -> str:
    """Return the path of a parameter file that gives nodes, by full name, these parameters.

    Raises:
        LaunchError: it cannot be written.
    """
    content = {f"/{node.strip('/')}": {_SECTION: dict(one)} for node, one in sections.items()}
    try:
        return _copied(yaml.compose(yaml.safe_dump(content, sort_keys=False)))
    except OSError as error:
        raise LaunchError(f"no parameter file can be written: {error}") from error


def names(name: str, value: object) -> list[str]:
    """Return the names that a launch argument or a parameter lists.

    Raises:
        LaunchError: one can be no namespace, or there are two of it.
    """
    try:
        return names_in(name, value)
    except SettingError as error:
        raise LaunchError(str(error)) from error


def renamed_section(name: str, path: str, before: str, after: str) -> str:
    """Return a parameter file in which a node's section has another name.

    Args:
        name: of the launch argument.
        path: of a parameter file that is there.
        before: the node's full name without the first slash, ``local_costmap/local_costmap``. Its
            section may be written so, with the slash, or with the node below its namespace.
        after: the same of the node as it will be called.

    Returns:
        The path of a copy; of the file itself where it has no such section, or ``after``'s already.

    Raises:
        LaunchError: it is no parameter file, or no copy can be written.
    """
    root = _composed(name, path, before)
    if after in (before, *(str(key.value).strip("/") for key, _ in root.value)):
        return path
    outer, _, inner = before.rpartition("/")
    is_found = False
    for key, value in list(root.value):
        if str(key.value).strip("/") == before:
            key.value, is_found = f"/{after}", True
        elif str(key.value).strip("/") == outer and isinstance(value, yaml.MappingNode):
            for below, section in list(value.value):
                if str(below.value).strip("/") == inner:  # others below the namespace stay there
                    value.value.remove((below, section))
                    below.value = f"/{after}"
                    root.value.append((below, section))
                    is_found = True
            if not value.value:
                root.value.remove((key, value))
    if not is_found:
        return path
    try:
        return _copied(root)
    except OSError as error:
        raise LaunchError(
            f"{name} names the node {before!r}, which is called {after!r} here, and no copy can be "
            f"written ({error}): name it /{after} in {path}"
        ) from error


def value_in(path: str, parameter: str, full_namespace: str = "") -> object | None:
    """Return what a parameter file says of one of the node's parameters; None if nothing."""
    name = f"/{full_namespace}/{NODE}" if full_namespace else f"/{NODE}"
    sections = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
    found = None
    for key in ("/**", f"/**/{NODE}", name[1:], name):
        values = (sections.get(key) or {}).get(_SECTION) or {}
        found = values.get(parameter, found)
    return found


def misspelt(given: Iterable[str], known: Collection[str]) -> list[str]:
    """Return a warning for each argument that is nearly one of the known ones."""
    warnings = []
    for name in given:
        near = difflib.get_close_matches(name, known, 1, _CLOSE)
        if near and name not in known and name not in _OF_LAUNCH_ROS:
            warnings.append(f"argument {name} is not known; did you mean {near[0]}?")
    return warnings


def _copied(root: yaml.MappingNode) -> str:
    """Write a parameter file beside the ones of before; return its path.

    Raises:
        OSError: it cannot be written.
    """
    # Its nodes are written, not its values: quotes, and with them types, stay as they are.
    text = yaml.serialize(root)
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    copy = own_folder() / f"params-{digest}.yaml"
    write_whole(copy, text.encode())
    return str(copy)


def _composed(name: str, path: str, node: str) -> yaml.MappingNode:
    try:
        text = Path(path).read_text(encoding="utf-8")
        root = yaml.compose(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise LaunchError(f"{name}: {path} is no YAML: {reason}") from error
    if not isinstance(root, yaml.MappingNode) or _SECTION not in text:
        raise LaunchError(
            f"{name}: {path} is no parameter file: it needs a section {node}: or /**: with "
            f"{_SECTION}: below"
        )
    return root
