"""Quality of service: what we offer, and what we ask for after a look at the graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions

# The newest camera info messages are kept for the image that comes with one of their stamps.
CAMERA_INFO_DEPTH = 5
ANCHOR_DEPTH = 5


def publisher_profile() -> QoSProfile:
    """Reliable, the newest only: serves reliable and best-effort subscribers alike."""
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST, depth=1, reliability=ReliabilityPolicy.RELIABLE
    )


def publisher_overrides() -> QoSOverridingOptions:
    """Lets users change history, depth and reliability by ``qos_overrides`` parameters."""
    return QoSOverridingOptions.with_default_policies()


@dataclass(frozen=True)
class Offer:
    """What the publishers of a topic offer together.

    Attributes:
        reliable: there are publishers, and each is reliable.
        transient_local: there are publishers, and each keeps its last message for late joiners.
    """

    reliable: bool = False
    transient_local: bool = False

    @classmethod
    def of(cls, profiles: Sequence[QoSProfile]) -> Offer:
        """The offer of publishers with these profiles."""
        return cls(
            reliable=bool(profiles)
            and all(profile.reliability == ReliabilityPolicy.RELIABLE for profile in profiles),
            transient_local=bool(profiles)
            and all(profile.durability == DurabilityPolicy.TRANSIENT_LOCAL for profile in profiles),
        )


def offer_on(node: Node, topic: str) -> Offer:
    """What the publishers of a topic offer now.

    Args:
        node: any node of ours.
        topic: fully qualified.
    """
    return Offer.of([info.qos_profile for info in node.get_publishers_info_by_topic(topic)])


def image_profile(offer: Offer, reliability: str) -> QoSProfile:
    """The subscription to images: the newest only.

    Best effort matches every publisher but loses messages above 0.5 MB or so between processes
    where reliable gets them all, so it is only taken where a publisher offers no more.

    Args:
        offer: of the publishers.
        reliability: ``auto`` follows the offer; ``reliable`` and ``best_effort`` do not ask.
    """
    reliable = offer.reliable if reliability == "auto" else reliability == "reliable"
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=1,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
    )


def anchor_profile(offer: Offer) -> QoSProfile:
    """The subscription to another sensor: as reliable as its publishers, the last few messages."""
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=ANCHOR_DEPTH,
        reliability=ReliabilityPolicy.RELIABLE if offer.reliable else ReliabilityPolicy.BEST_EFFORT,
    )


def camera_info_profile(offer: Offer) -> QoSProfile:
    """The subscription to camera info: follows the publishers in reliability and durability."""
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=CAMERA_INFO_DEPTH,
        reliability=ReliabilityPolicy.RELIABLE if offer.reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=(
            DurabilityPolicy.TRANSIENT_LOCAL if offer.transient_local else DurabilityPolicy.VOLATILE
        ),
    )
