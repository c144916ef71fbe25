"""Messages that come in: images and clouds to arrays, CameraInfo to Camera and back."""

from __future__ import annotations

import cv2
import numpy as np
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2, PointField
from std_msgs.msg import Header

from depthrefl_ros.geometry.camera import Camera, CameraError, RegionOfInterest
from depthrefl_ros.ros.encodings import (
    PLAIN_ENCODINGS,
    MessageError,
    check_layout,
    converted_to_bgr,
    plain_view,
)

__all__ = [
    "MessageError",
    "camera_from_info",
    "camera_to_info",
    "cloud_to_points",
    "compressed_image_to_array",
    "image_to_array",
    "info_key",
]

_FIELD_TYPES = {PointField.FLOAT32: "f4", PointField.FLOAT64: "f8"}
_JPEG_START = b"\xff\xd8"
_JPEG_END = b"\xff\xd9"


def image_to_array(message: Image, topic: str) -> tuple[np.ndarray, str]:
    """The pixels of an image message.

    Args:
        message: any encoding that ``encodings`` knows or cv_bridge converts.
        topic: named in errors.

    Returns:
        (H, W, C) uint8, or (H, W) for mono, and the order of the channels: ``rgb``, ``bgr``,
        ``rgba``, ``bgra`` or ``mono``. Plain 8 bit encodings are views of the message's bytes,
        so the array is good for as long as the message is not written to.

    Raises:
        MessageError: encoding, size, step and data do not make an image.
    """
    plain = PLAIN_ENCODINGS.get(message.encoding)
    if plain is not None:
        return plain_view(message, topic), plain.channels
    check_layout(message, 1, topic)
    return converted_to_bgr(message, topic), "bgr"


def compressed_image_to_array(message: CompressedImage, topic: str) -> tuple[np.ndarray, str]:
    """The pixels of a compressed image message (JPEG, PNG and what else OpenCV reads).

    Returns:
        (H, W, 3) uint8 and ``bgr``.

    Raises:
        MessageError: the data are empty, cut short or no picture.
    """
    data = np.frombuffer(message.data, np.uint8)
    described = f"{topic}: data of format {message.format!r} has {data.size} bytes"
    if data.size == 0:
        raise MessageError(f"{described}; it must hold an encoded picture")
    head = data[:2].tobytes()
    # Older OpenCV fills the missing part of a JPEG with grey: depth out of nothing.
    if head == _JPEG_START and _JPEG_END not in data.tobytes():
        raise MessageError(f"{described} and no JPEG end marker: the picture was cut short")
    try:
        # ROS pictures are upright as they are sent; EXIF must not turn them.
        image = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise MessageError(f"{described} that OpenCV refuses: {error}") from error
    if image is None:
        raise MessageError(f"{described} that are no JPEG, PNG or other picture OpenCV can read")
    return image, "bgr"


def info_key(message: CameraInfo) -> tuple:
    """What makes two CameraInfo messages describe the same camera: everything but the header."""
    roi = message.roi
    return (
        message.width,
        message.height,
        message.distortion_model,
        bytes(message.d),
        message.k.tobytes(),
        message.r.tobytes(),
        message.p.tobytes(),
        message.binning_x,
        message.binning_y,
        (roi.x_offset, roi.y_offset, roi.height, roi.width),
    )


def camera_from_info(message: CameraInfo, topic: str) -> Camera:
    """The camera that a CameraInfo describes (REP-104).

    Raises:
        MessageError: a field cannot be true; names the topic, the field and its value.
    """
    roi = message.roi
    try:
        return Camera(
            width=message.width,
            height=message.height,
            K=np.array(message.k).reshape(3, 3),
            D=np.array(message.d),
            R=np.array(message.r).reshape(3, 3),
            P=np.array(message.p).reshape(3, 4),
            distortion_model=message.distortion_model,
            binning_x=message.binning_x,
            binning_y=message.binning_y,
            roi=RegionOfInterest(roi.x_offset, roi.y_offset, roi.height, roi.width),
        )
    except CameraError as error:
        raise MessageError(f"{topic}: {error}") from error


def camera_to_info(camera: Camera, header: Header) -> CameraInfo:
    """The CameraInfo message of a camera, with this header."""
    message = CameraInfo(header=header, width=camera.width, height=camera.height)
    message.distortion_model = camera.distortion_model
    message.d = camera.D.tolist()
    message.k = camera.K.ravel()
    message.r = camera.R.ravel()
    message.p = camera.P.ravel()
    message.binning_x = camera.binning_x
    message.binning_y = camera.binning_y
    message.roi.x_offset = camera.roi.x_offset
    message.roi.y_offset = camera.roi.y_offset
    message.roi.height = camera.roi.height
    message.roi.width = camera.roi.width
    return message


def cloud_to_points(message: PointCloud2, topic: str) -> np.ndarray:
    """The points of a cloud.

    Args:
        message: any cloud with x, y and z as FLOAT32 or FLOAT64, in either endianness.
        topic: named in errors.

    Returns:
        (n, 3) float32, in metres, NaN where the cloud has none.

    Raises:
        MessageError: x, y or z is missing or of another type, or the data are cut short.
    """
    rows, columns, row_step = message.height, message.width, message.row_step
    points = np.empty((rows, columns, 3), np.float32)
    if points.size == 0:
        return points.reshape(-1, 3)
    fields = {field.name: field for field in message.fields}
    for axis, name in enumerate("xyz"):
        field = fields.get(name)
        kind = _FIELD_TYPES.get(field.datatype) if field else None
        if kind is None:
            found = f"of type {field.datatype}" if field else f"missing among {sorted(fields)}"
            raise MessageError(
                f"{topic}: field {name!r} is {found}; FLOAT32 (7) or FLOAT64 (8) is needed"
            )
        dtype = np.dtype(kind).newbyteorder(">" if message.is_bigendian else "<")
        last = (rows - 1) * row_step + (columns - 1) * message.point_step
        needed = last + field.offset + dtype.itemsize
        if len(message.data) < needed:
            raise MessageError(
                f"{topic}: data has {len(message.data)} bytes; {columns}x{rows} points of "
                f"point_step {message.point_step} and row_step {row_step} need {needed}"
            )
        strides = (row_step, message.point_step)
        points[..., axis] = np.ndarray((rows, columns), dtype, message.data, field.offset, strides)
    return points.reshape(-1, 3)
