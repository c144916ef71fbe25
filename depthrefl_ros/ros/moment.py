"""What holds while one frame is processed."""

from __future__ import annotations

from dataclasses import dataclass

from builtin_interfaces.msg import Time as Stamp
from std_msgs.msg import Header

from depthrefl_ros.ros.live_settings import LiveSettings
from depthrefl_ros.ros.parameters import Parameters


def seconds_of(stamp: Stamp) -> float:
    """A message's stamp in seconds."""
    return stamp.sec + 1e-9 * stamp.nanosec


@dataclass(frozen=True, eq=False)
class Moment:
    """One frame's time and place.

    Attributes:
        header: of the image and of what is published in its frame.
        live: the settings as they were when the frame came.
        time_s: of the stamp; of receipt where the driver sends no stamps. Only differences count.
    """

    header: Header
    live: LiveSettings
    time_s: float

    @classmethod
    def of(cls, header: Header, live: LiveSettings, received_s: float) -> Moment:
        """The moment of an image.

        Args:
            header: of the image.
            live: ``optical_frame_id`` stands in for the header's frame.
            received_s: seconds that never jump.
        """
        frame_id = live.parameters.optical_frame_id or header.frame_id
        time_s = seconds_of(header.stamp) or received_s
        return cls(Header(stamp=header.stamp, frame_id=frame_id), live, time_s)

    @property
    def parameters(self) -> Parameters:
        """The settings as the user gave them."""
        return self.live.parameters
