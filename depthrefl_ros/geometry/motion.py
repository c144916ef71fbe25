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

"""Depth of corners that a moving camera sees from several places, by the robot's odometry.

One picture does not tell how far away things are; two pictures from two places do, once it is known
how far apart the places are. Corners are followed through the images (``feature_tracks``). Between
the image and one that was taken some way back, odometry and the corners together tell how the
camera moved, and each corner's two rays how far away it is (``two_views``). What is found is kept
as a place in the odometry's frame for as long as the corner is followed: so a robot that stops
still knows how far the things are that it saw while it drove.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.feature_tracks import WINDOW_PX, FeatureTracks
from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.geometry.rays import pixel_rays
from depthrefl_ros.geometry.two_views import Movement, TwoViews, refined, triangulated

_WINDOW = np.ones((WINDOW_PX + 4, WINDOW_PX + 4), np.uint8)  # and what a blur mixes into it
_WIDEST_PX = 960  # wider images are shrunk: corners are followed well enough
_GAP_S = 2.0  # after a longer one nothing is where it was
# Faster than any robot indoors: the odometry was set back.
_FASTEST_M_S, _FASTEST_RAD_S = 5.0, 6.0
_SLACK_M, _SLACK_RAD = 0.2, 0.3
# Ways between two views, as shares of the distance of what is seen: the nearer view has more
# corners, the farther one tells them better.
_WAYS = (0.06, 0.15)
_USUAL_M = 2.0  # median distance of what is seen indoors, before anything is known
_VIEW_APART = 0.02  # views are kept that are so far apart, as a share of that distance
_VIEWS = 10
_FEWEST_CORNERS = 25  # that two views must share
_SHARE_AGREEING = 0.6  # of them must lie on their epipolar lines, or the motion is not understood
_OFF_LINE_PX = 0.7  # what is farther off moves by itself, or was followed wrongly
_NOISE_PX = 0.5  # of a corner that is followed, one standard deviation
_LEAST_SIGMA = 0.02  # of log depth: odometry's length is not known better
_MEASURED_SIGMA = 0.25  # of one measurement; what is less sure is none
_SURE_SIGMA = 0.12  # of what is handed on
_NEAREST_M, _FARTHEST_M = 0.1, 20.0
_WANDERS = 0.01  # what log depth loses in certainty from view to view
_CONTRADICTION = 3.0  # standard deviations between a measurement and what is known
_MOST_CONTRADICTIONS = 3
# Farther from where its place should be seen, a corner moves by itself: pixels, times the median.
_OFF_PLACE_PX, _OFF_PLACE_FACTOR = 4.0, 3.0
# Where that is so of half of them, odometry is wrong: it was set back, or the wheels slip. Under a
# degree of wrong turns it is 3 pixels at most, at a jump of 0.3 m 10.
_ODOMETRY_OFF_PX = 6.0
_FEWEST_PLACES = 8  # by whose median the odometry's own turn is taken off


@dataclass(frozen=True, eq=False)
class MotionPoints:
    """Points whose distance the camera's motion tells.

    Attributes:
        points: (n, 3) float64 metres in the camera's optical frame.
        sigma: (n,) float64 standard deviation of their log depth.
        begun_anew: why all that was known before this image is forgotten; empty where it is not.
    """

    points: np.ndarray
    sigma: np.ndarray
    begun_anew: str = ""


NO_POINTS = MotionPoints(np.zeros((0, 3)), np.zeros(0))


@dataclass(eq=False)
class _View:
    """An image that was taken some way back.

    Attributes:
        pose: odom_from_camera.
        rays: (n, 3) of the corners that are followed now, z = 1; NaN where one was not seen yet.
    """

    pose: Pose
    rays: np.ndarray


@dataclass(eq=False)
class _Places:
    """Where the corners are, in the odometry's frame.

    Attributes:
        points: (n, 3) metres.
        variance: (n,) of log depth; inf where nothing is known.
        agreements: (n,) int, measurements that agreed, one after the other.
        contradictions: (n,) int.
    """

    points: np.ndarray
    variance: np.ndarray
    agreements: np.ndarray
    contradictions: np.ndarray

    @classmethod
    def unknown(cls, count: int) -> _Places:
        """Return places of which nothing is known."""
        none = np.zeros(count, int)
        return cls(np.zeros((count, 3)), np.full(count, np.inf), none, none.copy())

    def keep(self, kept: np.ndarray) -> None:
        """Drop all but these, (n,) bool."""
        for name, values in vars(self).items():
            setattr(self, name, values[kept])

    def extend(self, count: int) -> None:
        """Append places of which nothing is known."""
        for name, values in vars(_Places.unknown(count)).items():
            setattr(self, name, np.concatenate([getattr(self, name), values]))


class MotionDepth:
    """Follows corners from frame to frame, and tells how far they are."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget the past, as after a jump of the clock."""
        self._tracks = FeatureTracks()
        self._places = _Places.unknown(0)
        self._views: list[_View] = []
        self._rays = np.zeros((0, 3))  # of the corners in the last image
        self._camera: Camera | None = None
        self._pose: Pose | None = None
        self._time_s = -math.inf
        self._found = NO_POINTS  # in the last image
        self._seen: tuple[np.ndarray | None, np.ndarray | None] = (None, None)

    def update(
        self,
        grey: np.ndarray,
        camera: Camera,
        seen: np.ndarray | None,
        odom_from_camera: Pose,
        time_s: float,
    ) -> MotionPoints:
        """Take the next image.

        Args:
            grey: (H, W) uint8, rectified.
            camera: its rectified pinhole camera.
            seen: (H, W) bool, where it shows the surroundings and not the robot itself; None for
                everywhere. The same array is looked at once.
            odom_from_camera: where the camera's optical frame is by odometry, when the image was
                taken.
            time_s: when that was, seconds.

        Returns:
            The corners whose distance is known.
        """
        if time_s == self._time_s:  # the same image once more
            return self._found
        grey, camera = as_followed(grey, camera)
        seen = self._inside(seen, grey.shape)
        begun_anew = self._torn(camera, odom_from_camera, time_s)
        if begun_anew:
            self.reset()
        self._follow(grey, camera, seen, odom_from_camera)
        self._camera, self._pose, self._time_s = camera, odom_from_camera, time_s
        is_view = self._is_elsewhere()
        if is_view:  # from the same place nothing new is seen, and an error would confirm itself
            self._measure(odom_from_camera)
        if not self._fits(odom_from_camera):
            begun_anew = "images and odometry do not fit: it jumped, or wheels slipped"
            self._places, self._views = _Places.unknown(len(self._rays)), []
        points, sigma = self._known(odom_from_camera)
        if is_view:
            self._views = [*self._views, _View(odom_from_camera, self._rays)][-_VIEWS:]
            self._places.variance = self._places.variance + _WANDERS**2
        self._renew(camera, seen, is_view)
        self._found = MotionPoints(points, sigma, begun_anew)
        return self._found

    def _inside(self, seen: np.ndarray | None, shape: tuple[int, ...]) -> np.ndarray | None:
        """Return (H, W) bool, where a corner's window shows the surroundings alone, or None."""
        if seen is None:
            return None
        if self._seen[0] is not seen or self._seen[1].shape != shape:
            whole = cv2.resize(seen.astype(np.uint8), shape[::-1], interpolation=cv2.INTER_NEAREST)
            self._seen = seen, cv2.erode(whole, _WINDOW, borderValue=1) > 0
        return self._seen[1]

    def _torn(self, camera: Camera, pose: Pose, time_s: float) -> str:
        """Return why what is remembered says nothing of this image; empty where it does."""
        if self._pose is None:
            return ""
        if not camera.is_like(self._camera):
            return "the camera has changed"
        elapsed_s = time_s - self._time_s
        if elapsed_s < 0.0:
            return "the clock was set back"
        if elapsed_s > _GAP_S:
            return f"no image and place for {elapsed_s:.1f} s; {_GAP_S:g} s are allowed"
        step = self._pose.inverse() @ pose
        way_m = float(np.linalg.norm(step.translation))
        turn_rad = math.acos(np.clip((np.trace(step.rotation) - 1.0) / 2.0, -1.0, 1.0))
        is_far = way_m > _FASTEST_M_S * elapsed_s + _SLACK_M
        if is_far or turn_rad > _FASTEST_RAD_S * elapsed_s + _SLACK_RAD:
            return (
                f"odometry moved by {way_m:.1f} m and {math.degrees(turn_rad):.0f} degrees within "
                f"{elapsed_s:.2f} s"
            )
        return ""

    def _follow(
        self, grey: np.ndarray, camera: Camera, seen: np.ndarray | None, pose: Pose
    ) -> None:
        expected = self._tracks.pixels
        if self._pose is not None and len(expected):
            turn = pose.rotation.T @ self._pose.rotation
            expected = _projected(camera, self._rays @ turn.T, expected)
        kept = self._tracks.follow(grey, expected, seen)
        self._keep(kept)
        self._rays = pixel_rays(camera, *self._tracks.pixels.T)

    def _keep(self, kept: np.ndarray) -> None:
        self._places.keep(kept)
        for view in self._views:
            view.rays = view.rays[kept]

    @property
    def _usual_m(self) -> float:
        """How far away things are, roughly."""
        if self._pose is None or not np.isfinite(self._places.variance).any():
            return _USUAL_M
        known = self._places.points[np.isfinite(self._places.variance)]
        return float(np.median(np.linalg.norm(known - self._pose.translation, axis=1)))

    def _measure(self, pose: Pose) -> None:
        """Triangulate by earlier views, and join what is found with what is known."""
        log_depth, sigma = np.zeros(len(self._rays)), np.full(len(self._rays), np.inf)
        usual_m = self._usual_m
        for way in _WAYS:
            view = self._view_at(way * usual_m, pose)
            if view is not None:
                self._triangulate(view, pose, log_depth, sigma)
        self._join(log_depth, sigma, pose)

    def _view_at(self, way_m: float, pose: Pose) -> _View | None:
        """Return the newest view from so far away, if it shares enough corners with the image."""
        for view in reversed(self._views):
            if np.isfinite(view.rays[:, 0]).sum() < _FEWEST_CORNERS:
                return None
            if np.linalg.norm(view.pose.translation - pose.translation) >= way_m:
                return view
        return None

    def _triangulate(
        self, view: _View, pose: Pose, log_depth: np.ndarray, sigma: np.ndarray
    ) -> None:
        """Put in what one earlier view tells better than those before, in place, (n,) each."""
        shared = np.flatnonzero(np.isfinite(view.rays[:, 0]))
        views = TwoViews(view.rays[shared], self._rays[shared])
        focal_px = self._camera.mean_focal_px
        by_odometry = Movement.by_odometry(pose.inverse() @ view.pose)
        movement, misses_px = refined(views, by_odometry, focal_px)
        on_line = np.abs(misses_px) < _OFF_LINE_PX
        if on_line.mean() < _SHARE_AGREEING:
            return
        found = triangulated(views, movement, _NOISE_PX / focal_px)
        errors = np.hypot(found.sigma, _LEAST_SIGMA)
        good = on_line & (errors < np.minimum(sigma[shared], _MEASURED_SIGMA))
        good &= (found.depth_m > _NEAREST_M) & (found.depth_m < _FARTHEST_M)
        good &= found.first_depth_m > _NEAREST_M
        log_depth[shared[good]] = np.log(found.depth_m[good])
        sigma[shared[good]] = errors[good]

    def _join(self, log_depth: np.ndarray, sigma: np.ndarray, pose: Pose) -> None:
        """Join measurements (n,), sigma inf where there is none, with the places."""
        places = self._places
        depth_m = pose.inverse().apply(places.points)[:, 2]
        is_known = np.isfinite(places.variance) & (depth_m > _NEAREST_M)
        before = np.where(is_known, places.variance, np.inf)
        expected = np.log(np.where(is_known, depth_m, 1.0))
        is_measured = np.isfinite(sigma)
        with np.errstate(invalid="ignore"):
            off = np.abs(log_depth - expected) / np.sqrt(sigma**2 + before)
        agrees = is_measured & is_known & (off < _CONTRADICTION)
        contradicts = is_measured & is_known & ~agrees
        share = np.where(is_measured, 1.0, 0.0)  # of the measurement in what is known then
        variance = np.where(is_measured, sigma**2, before)
        # The mean by certainty. What follows one another is of the same corners and much the same
        # views: it is never surer than half of one measurement's error.
        weight, weight_before = 1.0 / sigma[agrees] ** 2, 1.0 / before[agrees]
        share[agrees] = weight / (weight + weight_before)
        joint = 1.0 / (weight + weight_before)
        variance[agrees] = np.maximum(joint, sigma[agrees] ** 2 / 4.0)
        # One contradiction may be a slip: what was known better stays, and is trusted less.
        stays = contradicts & (before < sigma**2)
        share[stays], variance[stays] = 0.0, 4.0 * before[stays]
        places.variance = variance
        # A mean of places, not along the ray of now: a corner that moves by itself would take its
        # place along.
        measured = pose.apply(self._rays * np.exp(log_depth)[:, None])
        places.points = places.points + share[:, None] * (measured - places.points)
        places.agreements = np.where(contradicts, 0, places.agreements + agrees)
        places.contradictions = np.maximum(places.contradictions + contradicts - agrees, 0)

    def _fits(self, pose: Pose) -> bool:
        """Tell whether the corners are seen where their places are, as odometry has the camera.

        Of few that are not, a contradiction is counted: they move by themselves.
        """
        places = self._places
        here = pose.inverse().apply(places.points)
        known = np.flatnonzero(np.isfinite(places.variance) & (here[:, 2] > _NEAREST_M))
        if len(known) < _FEWEST_PLACES:
            return True
        missing = np.full((len(known), 2), np.nan)
        off = _projected(self._camera, here[known], missing) - self._tracks.pixels[known]
        off = np.linalg.norm(off - np.nanmedian(off, axis=0), axis=1)
        # Where odometry has the camera lean wrongly, all corners far from the middle are off.
        middle = float(np.nanmedian(off))
        moves = known[off > max(_OFF_PLACE_PX, _OFF_PLACE_FACTOR * middle)]
        places.contradictions[moves] += 1
        return middle <= _ODOMETRY_OFF_PX

    def _known(self, pose: Pose) -> tuple[np.ndarray, np.ndarray]:
        """Return points (n, 3) in the optical frame, and sigma (n,) of their log depth."""
        places = self._places
        sure = places.variance < _SURE_SIGMA**2
        sure &= (places.agreements > 0) & (places.contradictions == 0)
        depth_m = pose.inverse().apply(places.points[sure])[:, 2]
        ahead = depth_m > _NEAREST_M
        points = self._rays[sure][ahead] * depth_m[ahead][:, None]
        return points, np.sqrt(places.variance[sure][ahead])

    def _is_elsewhere(self) -> bool:
        """Tell whether this view is from another place than the last one that was kept."""
        if not self._views:
            return True
        way_m = np.linalg.norm(self._views[-1].pose.translation - self._pose.translation)
        return bool(way_m >= _VIEW_APART * self._usual_m)

    def _renew(self, camera: Camera, seen: np.ndarray | None, is_view: bool) -> None:
        """Drop what contradicted itself, and look for new corners where a view was kept.

        Elsewhere nothing could be said of them, and looking takes a third of the time.
        """
        kept = self._places.contradictions < _MOST_CONTRADICTIONS
        self._tracks.pixels, self._rays = self._tracks.pixels[kept], self._rays[kept]
        self._keep(kept)
        count = self._tracks.renew(seen) if is_view else 0
        if not count:
            return
        new = pixel_rays(camera, *self._tracks.pixels[-count:].T)
        self._rays = np.vstack([self._rays, new])
        self._places.extend(count)
        *before, now = self._views
        now.rays = self._rays
        for view in before:
            view.rays = np.vstack([view.rays, np.full((count, 3), np.nan)])


def as_followed(grey: np.ndarray, camera: Camera) -> tuple[np.ndarray, Camera]:
    """Return an image (H, W) uint8 no larger than helps to follow corners, and its camera."""
    factor = math.ceil(camera.width / _WIDEST_PX)
    if factor == 1:
        return grey, camera
    size = (camera.width // factor, camera.height // factor)
    return cv2.resize(grey, size, interpolation=cv2.INTER_AREA), camera.scaled(*size)


def _projected(camera: Camera, points: np.ndarray, otherwise: np.ndarray) -> np.ndarray:
    """Return pixels (n, 2) of points (n, 3) in the optical frame; `otherwise` of those behind."""
    ahead = points[:, 2:] > 1e-3
    flat = points[:, :2] / np.where(ahead, points[:, 2:], 1.0)
    return np.where(ahead, flat * (camera.fx, camera.fy) + (camera.cx, camera.cy), otherwise)
