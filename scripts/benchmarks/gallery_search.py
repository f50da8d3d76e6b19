"""Compare the gallery's search with faiss on a top 20 of 100,000 images, and measure the loss from sign bits and int8.

    python scripts/benchmarks/gallery_search.py                                  synthetic embeddings, one minute
    python scripts/benchmarks/gallery_search.py --bundle runs/demo/bundle        embeddings of a model, some minutes

Times are measured with one query at a time in one thread; the searches take turns in random order in one process. Ratios
refer to faiss' IndexFlatIP, which compares float32 with float32. With a bundle, 115,740 images are embedded: 1,929
characters, each in 12 typefaces and 5 simulated photographs. Without, 100,000 synthetic embeddings around 10,000 centres.
"""

from __future__ import annotations

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

import json
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import faiss
import numpy as np
import typer

from distill.console import DebugOption, JsonOption, make_app, run_app
from distill.data.preprocess import Preprocessing
from gallery import Content, Gallery, Model, int8_codes, open_gallery, row_codes, write_gallery
from gallery.search import candidate_count, search_gallery

app = make_app(__doc__ or "", default_command="run")
K = 20


def synthetic(count: int, dimension: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return embeddings and labels: ten images per class, mean cosine within a class about 0.7."""
    random = np.random.default_rng(seed)
    centres = random.normal(size=(count // 10, dimension))
    labels = random.integers(0, len(centres), count)
    rows = centres[labels] + 0.65 * random.normal(size=(count, dimension))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), labels


def embedded(folder: Path, variant: str) -> tuple[np.ndarray, np.ndarray]:
    """Return embeddings and labels of every character, with five simulated photographs of each typeface."""
    from PIL import ImageOps

    from distill.console import progress
    from distill.data.glyphs import render_glyph, simulate_camera
    from distill.data.spec import open_data
    from export.bundle import load_bundle, open_variant

    bundle, images = load_bundle(folder), open_data("glyphs")
    runner = open_variant(bundle, variant)
    rows = []
    with progress("embedding", len(images)) as bar:
        for key in images.keys:
            code, _, face = key.partition("/")
            ink = ImageOps.invert(render_glyph(int(code[2:], 16), face, 64).convert("L"))
            shots = [
                bundle.manifest.preprocessing.pixels(simulate_camera(ink, f"{key}#{number}")) for number in range(5)
            ]
            rows.append(runner.embed(np.stack(shots)))
            bar.advance()
    return np.concatenate(rows), np.repeat(images.labels, 5)


def gallery_of(path: Path, rows: np.ndarray, bits: bool) -> Gallery:
    model = Model(
        name="benchmark",
        variant="none",
        sha256="0" * 64,
        source_id="",
        preprocessing=Preprocessing(input_size=64, resize_size=64),
    )
    write_gallery(path, Content(model, [f"{row}" for row in range(len(rows))], rows, bits=bits))
    return open_gallery(path)


def timed(ways: dict[str, Callable[[np.ndarray], object]], queries: np.ndarray, seed: int = 0) -> dict[str, float]:
    """Return the median time of a query in milliseconds; the ways take turns."""
    random = np.random.default_rng(seed)
    samples: dict[str, list[float]] = {name: [] for name in ways}
    for query in queries:
        for name in random.permutation(list(ways)):
            begun = time.perf_counter()
            ways[name](query[None])
            samples[name].append(1e3 * (time.perf_counter() - begun))
    return {name: float(np.median(values)) for name, values in samples.items()}


def losses(
    rows: np.ndarray, labels: np.ndarray, exact: Gallery, signs: Gallery, plain: Gallery, asked: np.ndarray
) -> dict[str, float]:
    """Return the recall of the prefilter relative to the exact int8 search, and Recall@1 of float32 and both int8 codes."""
    queries = rows[asked]
    whole, quick = search_gallery(exact, queries, K + 1), search_gallery(signs, queries, K + 1)
    unequal = search_gallery(plain, queries, K + 1)
    flat = faiss.IndexFlatIP(rows.shape[1])
    flat.add(rows)
    _, true = flat.search(queries, K + 1)

    def first_right(found: np.ndarray) -> float:
        others = [
            next(row for row in line if row != query)
            for line, query in zip(found.tolist(), asked.tolist(), strict=True)
        ]
        return float((labels[others] == labels[asked]).mean())

    def shared(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.mean([len(set(x) & set(y)) / len(y) for x, y in zip(a.tolist(), b.tolist(), strict=True)]))

    return {
        "prefilter, share of the exact top 20 found": shared(quick.rows, whole.rows),
        "prefilter, same first answer": float((quick.rows[:, :2] == whole.rows[:, :2]).all(axis=1).mean()),
        "candidates": float(candidate_count(len(rows), K)),
        "Recall@1 float32": first_right(true),
        "Recall@1 int8": first_right(whole.rows),
        "Recall@1 int8, rows as rounded": first_right(unequal.rows),
    }


@app.command()
def run(
    count: Annotated[int, typer.Option(min=1000, help="Number of synthetic embeddings.")] = 100_000,
    dimension: Annotated[int, typer.Option(min=2, help="Dimension of synthetic embeddings.")] = 128,
    bundle: Annotated[
        Path | None, typer.Option(help="Embed images of characters with this bundle instead.", show_default=False)
    ] = None,
    variant: Annotated[str, typer.Option(help="Variant of the bundle.")] = "tflite-int8",
    queries: Annotated[int, typer.Option(min=1, help="Queries for the times.")] = 100,
    questions: Annotated[int, typer.Option("--asked", min=1, help="Queries for the recalls.")] = 2000,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Time the searches in turns and compare their results."""
    faiss.omp_set_num_threads(1)
    rows, labels = embedded(bundle, variant) if bundle else synthetic(count, dimension)
    count, dimension = rows.shape
    flat = faiss.IndexFlatIP(dimension)
    flat.add(rows)
    quantized = faiss.IndexScalarQuantizer(dimension, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT)
    quantized.train(rows)
    quantized.add(rows)
    random = np.random.default_rng(1)
    asked = random.choice(count, min(questions, count), replace=False)
    with tempfile.TemporaryDirectory() as folder:
        codes = row_codes(rows)
        signs = gallery_of(Path(folder) / "signs", codes, bits=True)
        exact = gallery_of(Path(folder) / "exact", codes, bits=False)
        plain = gallery_of(Path(folder) / "plain", int8_codes(rows), bits=False)
        ways: dict[str, Callable[[np.ndarray], object]] = {
            "faiss IndexFlatIP, float32": lambda query: flat.search(query, K),
            "faiss IndexScalarQuantizer, 8 bit": lambda query: quantized.search(query, K),
            "gallery, exact int8": lambda query: search_gallery(exact, query, K),
            "gallery, signs first": lambda query: search_gallery(signs, query, K),
        }
        for way in ways.values():
            for query in rows[asked[:5]]:
                way(query[None])
        times = timed(ways, rows[asked[:queries]])
        lost = losses(rows, labels, exact, signs, plain, asked)
    base = times["faiss IndexFlatIP, float32"]
    result = {
        "gallery": f"{count:,} x {dimension}, {bundle or 'synthetic'}",
        "ratio": {name: value / base for name, value in times.items()},
        "ms": times,
        "found": lost,
        "versions": {"numpy": np.__version__, "faiss": faiss.__version__, "machine": platform.machine()},
    }
    if as_json:
        print(json.dumps(result, indent=2))
        return
    print(f"top {K} of {result['gallery']}; one thread, median of {queries} queries\n")
    for name, value in times.items():
        print(f"{name:36} {value:8.2f} ms  {value / base:6.2f} x")
    print()
    for name, value in lost.items():
        print(f"{name:44} {value:10.4f}")


if __name__ == "__main__":
    raise SystemExit(run_app(app))
