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

"""Cameras, simulators and bags by name: their topics, and what the node must know of them.

What ``launch/camera.launch.py`` starts and ``docs/cameras.md`` tells. Every driver here offers
reliable publishers unless it is told otherwise; the node follows either.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

OPTICAL_FRAME = "camera_optical_frame"


@dataclass(frozen=True)
class Driver:
    """What starts a camera.

    Attributes:
        package: ROS package that has it.
        executable: of a node; empty where a launch file starts it.
        launch_file: below the package's ``launch/``; empty for a node.
        namespace: of the node.
        parameters: of the node. A value in braces, such as ``{video_device}``, is that argument of
            the launch file; an empty one is not given.
        arguments: of the node's command line. ``{image_topic}`` and ``{camera_info_topic}`` stand
            for the topics.
    """

    package: str
    executable: str = ""
    launch_file: str = ""
    namespace: str = ""
    parameters: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True)
class CameraRecipe:
    """A kind of camera.

    Attributes:
        image_topic: of its images, without ``/compressed``.
        camera_info_topic: of its CameraInfo.
        is_rectified: its images are rectified, though its CameraInfo may have a distortion.
        uses_sim_time: its stamps are of /clock.
        fixed_frame: ``frame_id`` of its images, for RViz.
        driver: None where something outside ROS publishes.
    """

    image_topic: str = "/camera/image_raw"
    camera_info_topic: str = "/camera/camera_info"
    is_rectified: bool = False
    uses_sim_time: bool = False
    fixed_frame: str = OPTICAL_FRAME
    driver: Driver | None = None

    def launch_arguments(self) -> dict[str, str]:
        """Return the arguments of ``depthrefl.launch.py`` that serve this camera."""
        return {
            "image_topic": self.image_topic,
            "camera_info_topic": self.camera_info_topic,
            "image_transport": "raw",
            "image_is_rectified": str(self.is_rectified).lower(),
            "use_sim_time": str(self.uses_sim_time).lower(),
            "fixed_frame": self.fixed_frame,
        }


# Jetson's camera, made small by its own hardware: the network sees 352x256 in any case.
CSI_PIPELINE = (
    "nvarguscamerasrc sensor-id=0 ! video/x-raw(memory:NVMM),width=1280,height=720,"
    "framerate=30/1 ! nvvidconv ! video/x-raw,width=640,height=360,format=BGRx ! videoconvert"
)
RECIPES: dict[str, CameraRecipe] = {
    "v4l2_camera": CameraRecipe(
        driver=Driver(
            "v4l2_camera",
            "v4l2_camera_node",
            namespace="camera",
            parameters={
                "video_device": "{video_device}",
                "camera_info_url": "{camera_info_url}",
                "camera_frame_id": OPTICAL_FRAME,
                "image_size": [640, 480],
            },
        )
    ),
    "usb_cam": CameraRecipe(
        driver=Driver(
            "usb_cam",
            "usb_cam_node_exe",
            namespace="camera",
            parameters={
                "video_device": "{video_device}",
                "camera_info_url": "{camera_info_url}",
                "frame_id": OPTICAL_FRAME,
                "image_width": 640,
                "image_height": 480,
                "framerate": 30.0,
            },
        )
    ),
    "gscam": CameraRecipe(
        driver=Driver(
            "gscam",
            "gscam_node",
            parameters={
                "gscam_config": CSI_PIPELINE,
                "camera_name": "camera",
                "camera_info_url": "{camera_info_url}",
                "frame_id": OPTICAL_FRAME,
            },
        )
    ),
    "realsense": CameraRecipe(
        image_topic="/camera/camera/color/image_raw",
        camera_info_topic="/camera/camera/color/camera_info",
        fixed_frame="camera_color_optical_frame",
        driver=Driver("realsense2_camera", launch_file="rs_launch.py"),
    ),
    "zed": CameraRecipe(
        image_topic="/zed/zed_node/rgb/color/rect/image",
        camera_info_topic="/zed/zed_node/rgb/color/rect/camera_info",
        is_rectified=True,
        fixed_frame="zed_left_camera_frame_optical",
        driver=Driver("zed_wrapper", launch_file="zed_camera.launch.py"),
    ),
    "oak": CameraRecipe(
        image_topic="/oak/rgb/image_raw",
        camera_info_topic="/oak/rgb/camera_info",
        fixed_frame="oak_rgb_camera_optical_frame",
        driver=Driver("depthai_ros_driver", launch_file="camera.launch.py"),
    ),
    "gazebo": CameraRecipe(
        uses_sim_time=True,
        driver=Driver(
            "ros_gz_bridge",
            "parameter_bridge",
            arguments=(
                "{image_topic}@sensor_msgs/msg/Image[gz.msgs.Image",
                "{camera_info_topic}@sensor_msgs/msg/CameraInfo[gz.msgs.CameraInfo",
                "/clock@rosgraph_msgs/msg/Clock[gz.msgs.Clock",
            ),
        ),
    ),
    "isaac_sim": CameraRecipe(
        image_topic="/rgb",
        camera_info_topic="/camera_info",
        uses_sim_time=True,
        fixed_frame="sim_camera",
    ),
    "bag": CameraRecipe(uses_sim_time=True),
}
