"""TFLite metadata, which the ImageEmbedder of MediaPipe and of the TFLite Task Library need to feed a file.

They take the scaling from ``NormalizationOptions``, resize images to the input size by their own
bilinear rule (without keeping the aspect ratio), and return the output row. The metadata is a separate
flatbuffer (identifier ``M001``) in a buffer of the model that is listed as ``TFLITE_METADATA``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from distill.data.preprocess import Preprocessing

if TYPE_CHECKING:
    import flatbuffers

__all__ = ["METADATA_NAME", "add_metadata", "build_metadata", "pack_model"]

METADATA_NAME = b"TFLITE_METADATA"
_METADATA_IDENTIFIER = b"M001"
_MODEL_IDENTIFIER = b"TFL3"
_MIN_PARSER_VERSION = "1.0.0"
_ALIGNMENT = 16  # schema.fbs: Buffer.data is force_align 16; kernels read weights in place
# Numbers from metadata_schema.fbs (TFLite Support); its generated code exists only in packages that
# conflict with ours. Union members:
_FEATURE, _IMAGE, _NORMALIZATION = 1, 2, 1
_RGB = 1


def build_metadata(name: str, description: str, preprocessing: Preprocessing) -> bytes:
    """Build the metadata of an image embedder with one input and one output.

    Args:
        name: name of the model.
        description: for people.
        preprocessing: its mean and std (0..255 units) become ``NormalizationOptions``, with one value
            if the three channels agree: MediaPipe refuses a scaling that differs between channels.

    Returns:
        A flatbuffer with the identifier ``M001``.
    """
    import flatbuffers

    builder = flatbuffers.Builder(1024)
    scaling = [_shortest(values) for values in (preprocessing.mean, preprocessing.std)]
    mean, std = (_floats(builder, values) for values in scaling)
    options = _table(builder, 2, {0: mean, 1: std})
    unit = _union(builder, _NORMALIZATION, options)
    image = _union(builder, _IMAGE, _enum(builder, _RGB))
    feature = _union(builder, _FEATURE, _table(builder, 0, {}))
    text = builder.CreateString
    takes = text(f"{preprocessing.resize_rule}, {preprocessing.crop} crop, (pixel - mean) / std")
    inputs = _table(builder, 7, {0: text("image"), 1: takes, 3: image, 4: _vector(builder, [unit])})
    outputs = _table(builder, 7, {0: text("embedding"), 1: text("compare by inner product"), 3: feature})
    both = {2: _vector(builder, [inputs]), 3: _vector(builder, [outputs])}
    subgraph = _table(builder, 10, both)
    model = {
        0: text(name),
        1: text(description),
        3: _vector(builder, [subgraph]),
        7: text(_MIN_PARSER_VERSION),
    }
    builder.Finish(_table(builder, 8, model), file_identifier=_METADATA_IDENTIFIER)
    return bytes(builder.Output())


def add_metadata(content: bytes, metadata: bytes) -> bytes:
    """Put the metadata into a TFLite file. Earlier metadata is replaced, everything else kept.

    Args:
        content: a TFLite file.
        metadata: result of ``build_metadata``.
    """
    import numpy as np
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(content, 0)
    buffer = schema.BufferT(data=np.frombuffer(metadata, np.uint8))
    entries = model.metadata or []
    entry = next((entry for entry in entries if entry.name == METADATA_NAME), None)
    if entry is None:
        model.buffers.append(buffer)
        model.metadata = [*entries, schema.MetadataT(name=METADATA_NAME, buffer=len(model.buffers) - 1)]
    else:
        model.buffers[entry.buffer] = buffer
    return pack_model(model, len(content) + len(metadata))


def pack_model(model: Any, size: int) -> bytes:
    """Serialize an unpacked model (``ModelT``); ``size``: estimated number of bytes."""
    import flatbuffers

    builder = _aligning(flatbuffers)(size + 4096)
    builder.Finish(model.Pack(builder), file_identifier=_MODEL_IDENTIFIER)
    return bytes(builder.Output())


def _aligning(flatbuffers: Any) -> type:
    class Builder(flatbuffers.Builder):
        """Aligns byte vectors: the generated code ignores ``force_align``."""

        def StartVector(self, elemSize: int, numElems: int, alignment: int) -> Any:
            return super().StartVector(elemSize, numElems, _ALIGNMENT if elemSize == 1 else alignment)

    return Builder


def _shortest(values: tuple[float, ...]) -> list[float]:
    return list(values[:1]) if len(set(values)) == 1 else list(values)


# Field numbers of its tables, which are all that a flatbuffer stores.


def _table(builder: flatbuffers.Builder, fields: int, offsets: dict[int, int]) -> int:
    builder.StartObject(fields)
    for number, offset in offsets.items():
        builder.PrependUOffsetTRelativeSlot(number, offset, 0)
    return builder.EndObject()


def _union(builder: flatbuffers.Builder, kind: int, value: int) -> int:
    """Build a ``ProcessUnit`` or ``Content``: the kind of options or properties, then these."""
    builder.StartObject(3)
    builder.PrependUint8Slot(0, kind, 0)
    builder.PrependUOffsetTRelativeSlot(1, value, 0)
    return builder.EndObject()


def _enum(builder: flatbuffers.Builder, value: int) -> int:
    builder.StartObject(2)
    builder.PrependInt8Slot(0, value, 0)
    return builder.EndObject()


def _floats(builder: flatbuffers.Builder, values: list[float]) -> int:
    builder.StartVector(4, len(values), 4)
    for value in reversed(values):
        builder.PrependFloat32(value)
    return builder.EndVector()


def _vector(builder: flatbuffers.Builder, offsets: list[int]) -> int:
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return builder.EndVector()
