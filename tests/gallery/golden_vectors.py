"""The tiny galleries in ``golden/``, on which every reader and writer of the format has to agree.

    python tests/gallery/golden_vectors.py      writes them again

``embeddings.f32`` [7, 70] and ``queries.f32`` [3, 70] are little-endian float32 rows of unit length.
``expected.json`` contains the results: codes, sign bits, and the ranking of every query with its integer
inner products. The rows of the int8 gallery are the plain codes; ``row_codes`` are the codes of nearly equal
length that ``distill-index`` writes.
"""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import PIL.Image

from distill.data.preprocess import Preprocessing
from gallery import Content, Model, int8_codes, row_codes, sign_bits, write_gallery

FOLDER = Path(__file__).parent / "golden"
COUNT, DIMENSION = 7, 70  # the signs take a word and six bits
IDS = ("a.jpg", "copies/first.jpg", "copies/second.jpg", "Ünïcode/日本 1.jpg", "halves.jpg", "tiny.jpg", "z.jpg")
MODEL = Model(
    name="golden",
    variant="tflite-int8",
    sha256="ab" * 32,
    source_id="0123456789abcdef",
    space="fedcba9876543210",
    preprocessing=Preprocessing(input_size=64, resize_size=73),
)


def embeddings() -> np.ndarray:
    rows = np.random.default_rng(7).normal(size=(COUNT, DIMENSION))
    rows[2] = rows[1]  # equal: the lower row comes first
    rows[4] = 0
    rows[4, [0, 1, 63, 69]] = (1, -1, 1, -1)  # ± 0.5: 63.5 is a half, rounded to the even 64
    rows[5, ::2] = -1e-3  # the code is 0, so the sign of the code is not the sign of the float
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def queries(rows: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(8).normal(size=(2, DIMENSION))
    mixed = np.stack([rows[1], noise[0], rows[5] + 0.1 * noise[1]])
    return (mixed / np.linalg.norm(mixed, axis=1, keepdims=True)).astype(np.float32)


def thumbnails() -> list[bytes]:
    buffer = io.BytesIO()
    PIL.Image.new("RGB", (8, 6), (200, 30, 60)).save(buffer, "JPEG")
    return [buffer.getvalue(), *[b""] * (COUNT - 2), buffer.getvalue()]


def content(rows: np.ndarray) -> Content:
    stamps = np.stack([np.arange(COUNT) * 1000, np.arange(COUNT) + 2**40], axis=1).astype(np.uint64)
    return Content(
        MODEL,
        IDS,
        rows,
        thumbnails=thumbnails(),
        thumbnail_side=8,
        stamps=stamps,
        bits=True,
        created="2026-01-01T00:00:00+00:00",
        tool="golden",
    )


def expected(rows: np.ndarray, asked: np.ndarray) -> dict:
    codes, query_codes = int8_codes(rows), int8_codes(asked)
    products = query_codes.astype(int) @ codes.astype(int).T
    ranking = [sorted(range(COUNT), key=lambda row, line=line: (-line[row], row)) for line in products.tolist()]
    return {
        "ids": IDS,
        "codes": codes.tolist(),
        "row_codes": row_codes(rows).tolist(),
        "query_codes": query_codes.tolist(),
        "bits_int8": [[f"{word:016x}" for word in row] for row in sign_bits(codes)],
        "bits_float32": [[f"{word:016x}" for word in row] for row in sign_bits(rows)],
        "ranking": ranking,
        "products": [[line[row] for row in order] for line, order in zip(products.tolist(), ranking, strict=True)],
    }


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    rows = embeddings()
    asked = queries(rows)
    (FOLDER / "embeddings.f32").write_bytes(rows.astype("<f4").tobytes())
    (FOLDER / "queries.f32").write_bytes(asked.astype("<f4").tobytes())
    write_gallery(FOLDER / "int8.gallery", content(int8_codes(rows)))
    write_gallery(FOLDER / "float32.gallery", content(rows))
    (FOLDER / "expected.json").write_text(
        json.dumps(expected(rows, asked), ensure_ascii=False) + "\n", encoding="utf-8"
    )


if __name__ == "__main__":
    main()
