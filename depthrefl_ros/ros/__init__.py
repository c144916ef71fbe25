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

"""The rim: the only rooms that know ROS. Nothing outside them imports rclpy or messages.

The way of the process:

    executable.py (middleware.py before rclpy.init) ─► node.py, the lifecycle node (diagnostics.py)
      configure .. cleanup:     loaded_model.py (engine_opening.py: a build takes minutes)
      activate .. deactivate:   session.py (bond.py)

The way of one frame while the session lasts:

    subscriptions.py ─► worker.py (the newest wins) ─► pipeline.py
      intake.py (camera_lookup.py) ─► estimator ─► geometry/correction.py ─► estimator
      ─► publishers.py (depth, points) and obstacle_publisher.py (what a costmap acts on)

robot.py tells the pipeline once a frame where the camera stands and what else is known of
distances; transforms.py asks tf2 for it, and sensors.py has what the other sensors sent.
parameters.py declares every parameter; loaded_model.py has what one frame sees of them.
``convert`` has the messages to arrays and back.
"""
