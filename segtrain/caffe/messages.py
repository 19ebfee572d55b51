"""What is read of Caffe's files of weights, as messages of protobuf; whatever else they hold is skipped.

What lies within a message stays bytes until it is asked for, and so do values, which a file holds as they lie in
memory, four bytes each, little-endian: so what a file takes of the memory follows from its size, not from its claims.

Reference: Caffe's format, by the numbers of its fields.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_FIELD = descriptor_pb2.FieldDescriptorProto
_PACKAGE = "segtrain.caffe"


class Messages(NamedTuple):
    """Classes of messages.

    net: `layer`, and `layers` in the form before that, which old_layer reads. layer, old_layer: its `name`, and its
    `blobs`. blob: its `data`, in pieces; its `shape`, or in older files `num`, `channels`, `height` and `width`.
    shape: `dim`.
    """

    net: Any
    layer: Any
    old_layer: Any
    blob: Any
    shape: Any


@cache
def messages() -> Messages:
    one, many = _FIELD.LABEL_OPTIONAL, _FIELD.LABEL_REPEATED
    raw, number = _FIELD.TYPE_BYTES, _FIELD.TYPE_INT32
    sides = {name: (index, number, one) for index, name in enumerate(("num", "channels", "height", "width"), start=1)}
    file = descriptor_pb2.FileDescriptorProto(name="segtrain_caffe.proto", package=_PACKAGE, syntax="proto2")
    _add(file, "Net", {"layers": (2, raw, many), "layer": (100, raw, many)})
    _add(file, "Layer", {"name": (1, raw, one), "blobs": (7, raw, many)})
    _add(file, "OldLayer", {"name": (4, raw, one), "blobs": (6, raw, many)})
    _add(file, "Blob", {**sides, "data": (5, raw, many), "shape": (7, raw, one)})
    _add(file, "Shape", {"dim": (1, _FIELD.TYPE_INT64, many)})
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    names = (message.name for message in file.message_type)
    return Messages(
        *(message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")) for name in names)
    )


def _add(file: Any, name: str, fields: Mapping[str, tuple[int, Any, Any]]) -> None:
    message = file.message_type.add(name=name)
    for field, (number, kind, label) in fields.items():
        message.field.add(name=field, number=number, type=kind, label=label)
