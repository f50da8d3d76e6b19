"""Students of random weights, and Keras' networks as TFLite beside them: what the latency benchmarks share."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from typing import Any

from export.bundle.quiet import quiet_stderr
from export.samples.calibration import CalibrationImages

__all__ = ["EMBEDDING", "keras_embedder", "keras_to_tflite", "random_student", "silent"]

EMBEDDING = 128


def random_student(arch: str, side: int, seed: int, embedding: int = EMBEDDING) -> Any:
    """An ``Embedder`` of random weights, in evaluation mode: latency does not depend on them.

    Its batch norms hold the statistics of noise; with none at all the activations vanish.
    """
    import torch

    from distill.models.embedder import Embedder
    from distill.models.registry import build_backbone

    torch.manual_seed(seed)
    model = Embedder(build_backbone(arch), embedding).train()
    with torch.inference_mode():
        for _ in range(20):
            model(torch.rand(4, 3, side, side) * 2 - 1)
    return model.eval()


@contextlib.contextmanager
def silent(debug: bool) -> Iterator[None]:
    """Converters' chatter is dropped; what they write to stderr is kept with ``debug``."""
    # Keras lists every variable on stdout.
    with quiet_stderr(not debug), contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def keras_embedder(application: str, alpha: float, side: int, embedding: int = EMBEDDING) -> Any:
    """``keras.applications``' network of random weights, with a linear layer ``projection`` and unit length."""
    import tensorflow as tf

    # A fixed batch of one: with a free one the file gets four operators more to compute shapes.
    image = tf.keras.Input(batch_shape=(1, side, side, 3))
    network = getattr(tf.keras.applications, application)
    base = network(input_tensor=image, alpha=alpha, weights=None, include_top=False, pooling="avg")
    values = tf.keras.layers.Dense(embedding, name="projection")(base.output)
    # One L2_NORMALIZATION operator; Keras' own UnitNormalization becomes five, and loses 5 % in float32.
    unit = tf.keras.layers.Lambda(lambda rows: tf.math.l2_normalize(rows, axis=-1))(values)
    return tf.keras.Model(base.input, unit)


def keras_to_tflite(model: Any, scheme: str, images: CalibrationImages) -> bytes:
    """TFLiteConverter's file; ``scheme``: float32, dynamic-range or int8 (borders too)."""
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if scheme != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if scheme == "int8":
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
        converter.representative_dataset = lambda: ([image] for image in images.scaled())
    return bytes(converter.convert())
