"""Compute embeddings with another program's client. Runs as a separate process and imports nothing of this project.

python embed_with_client.py tasklib|mediapipe MODEL.tflite PIXELS.u8 SIDE OUT.f32
"""

from __future__ import annotations

import sys

import numpy as np


def tasklib(model: str):
    sys.modules["tensorflow"] = None  # both register the same C++ types: one process holds one of them
    from tflite_support.task import core, processor, vision

    options = vision.ImageEmbedderOptions(
        base_options=core.BaseOptions(file_name=model), embedding_options=processor.EmbeddingOptions(l2_normalize=True)
    )
    embedder = vision.ImageEmbedder.create_from_options(options)

    def embed(image: np.ndarray) -> np.ndarray:
        result = embedder.embed(vision.TensorImage.create_from_array(image))
        return np.asarray(result.embeddings[0].feature_vector.value)

    return embed


def mediapipe(model: str):
    import mediapipe
    from mediapipe.tasks.python import BaseOptions, vision

    options = vision.ImageEmbedderOptions(base_options=BaseOptions(model_asset_path=model), l2_normalize=True)
    embedder = vision.ImageEmbedder.create_from_options(options)

    def embed(image: np.ndarray) -> np.ndarray:
        wrapped = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=image)
        return np.asarray(embedder.embed(wrapped).embeddings[0].embedding)

    return embed


if __name__ == "__main__":
    client, model_file, pixels_file, side, out = sys.argv[1:]
    pixels = np.fromfile(pixels_file, np.uint8).reshape(-1, int(side), int(side), 3)
    embed_image = {"tasklib": tasklib, "mediapipe": mediapipe}[client](model_file)
    np.stack([embed_image(image) for image in pixels]).astype("<f4").tofile(out)
