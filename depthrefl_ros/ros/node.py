"""The lifecycle node ``depthrefl``: a camera's images in, metric depth and clouds out."""

from __future__ import annotations

import functools
import re
import sys
import time
import traceback
from collections.abc import Callable, Sequence

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CompressedImage, Image

from depthrefl_ros.engine.base import EngineError
from depthrefl_ros.engine.bundle import Bundle, BundleError
from depthrefl_ros.engine.selection import OpenedEngine
from depthrefl_ros.estimator import DepthEstimator
from depthrefl_ros.ros.anchors import Anchors
from depthrefl_ros.ros.cameras import CameraSources
from depthrefl_ros.ros.complaints import Complaints
from depthrefl_ros.ros.declaration import check_changeable, declare
from depthrefl_ros.ros.diagnostics import ERROR, Diagnostics
from depthrefl_ros.ros.engine_opening import PROBLEM, EngineOpening
from depthrefl_ros.ros.inputs import Inputs
from depthrefl_ros.ros.live_settings import LiveSettings
from depthrefl_ros.ros.middleware import use_large_message_transport
from depthrefl_ros.ros.mount import Mount
from depthrefl_ros.ros.parameters import ParameterError
from depthrefl_ros.ros.pipeline import Pipeline, Received
from depthrefl_ros.ros.publishers import Publishers
from depthrefl_ros.ros.rate_limit import RateLimit
from depthrefl_ros.ros.stop_signals import StopSignals
from depthrefl_ros.ros.transforms import Transforms
from depthrefl_ros.ros.worker import NewestWorker

USAGE = """usage: depthrefl [--ros-args ...]

The lifecycle node depthrefl: image and camera_info in; depth/image, depth/image_raw,
depth/camera_info, depth/confidence, depth/relative, depth/preview, points, points/marking,
points/clearing and scan out. Every parameter is explained in config/depthrefl.yaml.

example:
  depthrefl --ros-args -r image:=/camera/image_raw -r camera_info:=/camera/camera_info \\
      -p max_range:=6.0"""
CONFIGURE_S = 3.0  # that the transition may take; Nav2 waits 5 s for its answer
SILENCE_S = 2.0  # an active node without images for longer says so
STOP_CHECK_S = 0.2  # how long a signal may wait until it is seen
_SOUNDS_RECTIFIED = re.compile(r"[/_]rect")

# What a user's setting or a file can cause: told in one line, without a traceback.
_EXPECTED_ERRORS = (BundleError, EngineError, ValueError)


def _told(error: Exception) -> str:
    """The error in one line where a user can have caused it, else with its traceback."""
    if isinstance(error, _EXPECTED_ERRORS):
        return str(error)
    return "".join(traceback.format_exception(type(error), error, error.__traceback__))


def _transition(
    work: Callable[[DepthReflNode], None],
) -> Callable[[DepthReflNode, LifecycleState], TransitionCallbackReturn]:
    """A transition callback that catches, logs and returns FAILURE: the node must stay up."""

    @functools.wraps(work)
    def guarded(node: DepthReflNode, _state: LifecycleState) -> TransitionCallbackReturn:
        try:
            work(node)
        except Exception as error:
            node.get_logger().error(f"{work.__name__} failed: {_told(error)}")
            node.get_logger().debug(traceback.format_exc())
            node.diagnostics.problem("transition", str(error), ERROR, lasting=True)
            return TransitionCallbackReturn.FAILURE
        node.diagnostics.solve("transition")
        return TransitionCallbackReturn.SUCCESS

    return guarded


class DepthReflNode(LifecycleNode):
    """Callbacks only store; one worker thread does the work and publishes.

    Args:
        arguments: of ``rclpy.node.Node``, such as ``namespace`` or ``parameter_overrides``.

    Raises:
        ParameterError: a parameter was given a value that cannot be taken.
    """

    def __init__(self, **arguments):
        self.diagnostics = Diagnostics()
        self._lifecycle = "unconfigured"
        self._bundle: Bundle | None = None
        self._opening: EngineOpening | None = None
        self._opened: OpenedEngine | None = None
        self._live: LiveSettings | None = None
        self._cameras: CameraSources | None = None
        self._inputs: Inputs | None = None
        self._outputs: Publishers | None = None
        self._mount: Mount | None = None
        self._anchors: Anchors | None = None
        self._pipeline: Pipeline | None = None
        self._worker: NewestWorker[Received] | None = None
        self._rate_limit = RateLimit()
        self._last_image_s = 0.0
        super().__init__("depthrefl", **arguments)
        self._complaints = Complaints(self.diagnostics, self.get_logger())
        self.parameters = declare(self)
        self._diagnostics_publisher = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        # Steady: diagnostics go out even where simulated time stands still.
        self._diagnostics_timer = self.create_timer(
            self.parameters.diagnostics_period,
            self._publish_diagnostics,
            clock=Clock(clock_type=ClockType.STEADY_TIME),
        )
        self._opening_ended = self.create_guard_condition(self._on_opening_ended)
        self.add_on_set_parameters_callback(self._on_set_parameters)

    def autostart(self) -> None:
        """Configures and activates, where the parameter ``autostart`` says so."""
        if not self.parameters.autostart:
            return
        if self.trigger_configure() == TransitionCallbackReturn.SUCCESS:
            self.trigger_activate()

    @_transition
    def on_configure(self) -> None:
        """Loads the model and opens the engine, which has to pass its self-test.

        What takes longer than ``CONFIGURE_S``, such as a build, goes on beside the node.
        """
        start_s = time.monotonic()
        try:
            self._bundle = Bundle.load(self.parameters.model)
            self._live = LiveSettings.of(self.parameters, self._bundle)
            self._tell_model()
            self._open_engine()
            self._opening.wait(CONFIGURE_S - (time.monotonic() - start_s))
            self._take_engine()
        except Exception:
            self._stop()
            self._release()
            raise
        self._lifecycle = "inactive"

    @_transition
    def on_activate(self) -> None:
        """Starts to publish, to listen and, as soon as there is an engine, to work."""
        try:
            self._start()
        except Exception:
            self._stop()
            raise
        self._lifecycle = "active"

    @_transition
    def on_deactivate(self) -> None:
        """Stops to listen, to work and to publish, in this order."""
        self._stop()
        self._lifecycle = "inactive"

    @_transition
    def on_cleanup(self) -> None:
        """Gives model and engine back."""
        self._stop()
        self._release()

    @_transition
    def on_shutdown(self) -> None:
        """Stops and gives everything back, from any state."""
        self._stop()
        self._release()
        self._lifecycle = "finalized"

    @_transition
    def on_error(self) -> None:
        """Back to unconfigured."""
        self._stop()
        self._release()

    def destroy_node(self) -> None:
        """Stops and gives everything back; the node cannot be used after."""
        self._stop()
        self._release()
        super().destroy_node()

    def _tell_model(self) -> None:
        bundle = self._bundle
        self.get_logger().info(f"model {bundle.name}: {bundle.licence}")
        self.diagnostics.state_fact("model", bundle.name)
        self.diagnostics.state_fact("model_path", str(bundle.folder))
        self.diagnostics.state_fact("model_licence", bundle.licence)

    def _open_engine(self) -> None:
        """Begins to look for a working engine."""
        self._opening = EngineOpening(
            self._bundle,
            self.parameters.engine_choice(),
            self.diagnostics,
            self.get_logger(),
            self._opening_ended.trigger,
        )

    def _take_engine(self) -> None:
        """Takes the engine over if the search for it has ended.

        Raises:
            Exception: the search has ended without one.
        """
        if self._opening is not None and self._opening.has_ended:
            opening, self._opening = self._opening, None
            self._opened = opening.take()

    def _on_opening_ended(self) -> None:
        """Goes on with an engine that took longer than the transition that asked for it."""
        try:
            self._take_engine()
            if self._outputs is not None and self._opened is not None and self._worker is None:
                self._work()
        except Exception as error:
            self.get_logger().error(f"nothing will be published: {_told(error)}")
            self.diagnostics.problem(PROBLEM, str(error), ERROR, lasting=True)

    def _start(self) -> None:
        self._outputs = Publishers(self, self.diagnostics)
        self._mount = Mount(Transforms(self))
        self._anchors = Anchors(self._mount, self._complaints.warn)
        self._rate_limit = RateLimit()
        self._last_image_s = time.monotonic()
        self._cameras = CameraSources(self.resolve_topic_name("camera_info"))
        self._inputs = Inputs(
            self, self.parameters, self._on_image, self._cameras.add, self._anchors.callbacks
        )
        self._warn_of_rectified_topic()
        self._take_engine()
        if self._opened is not None:
            self._work()
        elif self._opening is None:  # deactivation gave the last search up
            self._open_engine()

    def _work(self) -> None:
        """Starts the worker: from now on frames are processed."""
        self._pipeline = Pipeline(
            DepthEstimator(self._opened.engine, self._bundle, self._live.estimator),
            self._cameras,
            self._outputs,
            self._mount,
            self._anchors,
            self.diagnostics,
            self._complaints,
            self.get_clock(),
            self._inputs.image_topic,
            self._live,
        )
        self._worker = NewestWorker(self._pipeline.process, "depthrefl worker")

    def _warn_of_rectified_topic(self) -> None:
        topic = self._inputs.image_topic
        if _SOUNDS_RECTIFIED.search(topic) and not self.parameters.image_is_rectified:
            self.get_logger().warning(
                f"images come on {topic}, which sounds rectified, and image_is_rectified is false: "
                "they will be undistorted again; set image_is_rectified if they are rectified"
            )

    def _stop(self) -> None:
        """Also gives up the search for an engine: the next activation begins it anew."""
        if self._opening is not None:
            self._opening.stop()
            self._opening = None
        if self._inputs is not None:
            self._inputs.close()
        if self._worker is not None and self._worker.stop() is not None:
            self.diagnostics.drop("deactivated")
        if self._outputs is not None:
            self._outputs.close()
        if self._mount is not None:
            self._mount.close()
        self._inputs = self._worker = self._outputs = self._pipeline = None
        self._mount = self._anchors = None

    def _release(self) -> None:
        if self._opened is not None:
            self._opened.engine.close()
        self._opened = self._bundle = self._live = None
        self.diagnostics.clear_facts()
        self.diagnostics.solve(PROBLEM)
        self._lifecycle = "unconfigured"

    def _on_image(self, message: Image | CompressedImage) -> None:
        if self._inputs is None:  # the executor may have taken it before deactivation
            return
        self._last_image_s = time.monotonic()
        self.diagnostics.count("received")
        if self._worker is None:
            self.diagnostics.drop("no_engine")
        elif not self._rate_limit.allows(self._last_image_s, self.parameters.max_rate):
            self.diagnostics.drop("rate_limited")
        elif self._worker.submit(Received(message, self._last_image_s)) is not None:
            self.diagnostics.drop("superseded")

    def _on_set_parameters(self, changes: Sequence[Parameter]) -> SetParametersResult:
        values = {change.name: change.value for change in changes}
        try:
            check_changeable(values, self._lifecycle)
            parameters = self.parameters.changed(values)
            live = None
            if self._bundle is not None:
                live = LiveSettings.of(parameters, self._bundle, self._live)
        except ValueError as error:
            return SetParametersResult(successful=False, reason=str(error))
        self.parameters, self._live = parameters, live
        if self._pipeline is not None:
            self._pipeline.live = live
        if self._inputs is not None and "scale_correction" in values:
            self._inputs.follow_parameters(parameters)
        if "diagnostics_period" in values:
            self._diagnostics_timer.timer_period_ns = int(parameters.diagnostics_period * 1e9)
        return SetParametersResult(successful=True)

    def _publish_diagnostics(self) -> None:
        silent_s = time.monotonic() - self._last_image_s
        if self._lifecycle == "active" and silent_s > SILENCE_S:
            self.diagnostics.problem(
                "silence", f"no image on {self._inputs.image_topic} for {silent_s:.0f} s"
            )
        else:
            self.diagnostics.solve("silence")
        engine = self._opened.engine if self._opened is not None else None
        status = self.diagnostics.status(
            self.get_fully_qualified_name().lstrip("/"),
            self._lifecycle,
            engine.device if engine is not None else "",
        )
        message = DiagnosticArray(status=[status])
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics_publisher.publish(message)


def main(args: Sequence[str] | None = None) -> int:
    """Runs the node until SIGINT or SIGTERM; with ``--help`` only says how it is used.

    Returns:
        0 after a signal; 1 where the parameters given at start cannot be taken.
    """
    if {"-h", "--help"} & set(sys.argv[1:] if args is None else args):
        print(USAGE)
        return 0
    stop = StopSignals()
    use_large_message_transport()
    rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    node = None
    try:
        node = DepthReflNode()
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        node.autostart()
        while not stop.requested:
            executor.spin_once(timeout_sec=STOP_CHECK_S)
    except ParameterError as error:
        rclpy.logging.get_logger("depthrefl").fatal(str(error))
        return 1
    finally:
        if node is not None:
            node.destroy_node()
        rclpy.try_shutdown()
        stop.ignore()
    return 0


if __name__ == "__main__":
    sys.exit(main())
