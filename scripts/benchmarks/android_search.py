"""Compare exact search in Java with the same loop in C and with faiss, one thread each.

    python scripts/benchmarks/android_search.py --rounds 400

Finds the top 20 of 100,000 random rows of 128 int8 values. Java and C (gcc -O3 -march=native, called from Java)
take turns in one process; between two turns, faiss (IndexFlatIP over the same codes as float32) runs. Each search
runs once untimed before it is timed. The time is the thread's processor time, which equals wall time on an idle
machine. Requires javac, Maven and gcc. Exit code 1 if Java takes more than ``--limit`` times as long as C, finds
other rows, or allocates. This measures HotSpot; a phone's compiler generates other code (android_demo/README.md).
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from distill.console import DebugOption, Failure, JsonOption, make_app, progress, run_app
from distill.data.preprocess import Preprocessing
from gallery import Content, Model, int8_codes, write_gallery

app = make_app(__doc__ or "", default_command="run")
DEMO = Path(__file__).parents[2] / "android_demo"
WARM_UP = 30
# Order of the answers of SearchBench.java.
WAYS = ("java", "c", "java, the loop for Android", "java, by signs first")


@app.command()
def run(
    rows: Annotated[int, typer.Option(min=1000, help="Number of rows in the gallery.")] = 100_000,
    dimension: Annotated[int, typer.Option(min=1, help="Dimension of the rows.")] = 128,
    k: Annotated[int, typer.Option(min=1)] = 20,
    rounds: Annotated[int, typer.Option(min=10, help="Number of queries.")] = 400,
    limit: Annotated[float, typer.Option(help="Largest allowed ratio of Java to C.")] = 1.5,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Build the programs, search in turns, print times and ratios."""
    with tempfile.TemporaryDirectory() as folder:
        result = _measure(Path(folder), rows, dimension, k, rounds, seed)
    print(json.dumps(result, indent=2)) if as_json else _print(result)
    problems = [name for name in ("java", "c") if not result["ways"][name]["same_rows"]]
    if problems:
        raise Failure("Java and C find different rows", "this is a bug: run the tests of module jvm")
    if result["ways"]["java"]["allocated_bytes"]:
        raise Failure("the search allocates", "this is a bug: see IndexTest.nothingIsAllocatedPerQuery")
    if result["ratio_to_c"] > limit:
        raise Failure(f"Java takes {result['ratio_to_c']:.2f} times as long as C, above {limit}", "see LaneIndex.java")


def _measure(folder: Path, rows: int, dimension: int, k: int, rounds: int, seed: int) -> dict[str, Any]:
    import faiss

    rng = np.random.default_rng(seed)
    codes = int8_codes(_unit(rng.normal(size=(rows, dimension))))
    queries = int8_codes(_unit(rng.normal(size=(rounds + WARM_UP, dimension))))
    model = Model(
        name="random",
        variant="none",
        sha256="0" * 64,
        source_id="none",
        preprocessing=Preprocessing(input_size=8, resize_size=8),
    )
    ids = [str(row) for row in range(rows)]
    write_gallery(folder / "gallery", Content(model, ids, codes, bits=True))
    queries.tofile(folder / "queries")
    index = faiss.IndexFlatIP(dimension)
    index.add(codes.astype(np.float32))
    faiss.omp_set_num_threads(1)
    times: dict[str, list[int]] = {name: [] for name in (*WAYS, "faiss")}
    allocated, same = dict.fromkeys(WAYS, 0), dict.fromkeys(WAYS, 0)
    with subprocess.Popen(
        _command(folder, dimension, k), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin and process.stdout
        with progress("searching", total=len(queries)) as bar:
            for number, query in enumerate(queries.astype(np.float32)):
                process.stdin.write(f"{number}\n")
                process.stdin.flush()
                answer = process.stdout.readline().split()
                if len(answer) != 3 * len(WAYS):
                    raise Failure("the Java process ended early", "see its output above")
                index.search(query[None], k)
                start = time.thread_time_ns()
                index.search(query[None], k)
                times["faiss"].append(time.thread_time_ns() - start)
                for place, name in enumerate(WAYS):
                    taken, bytes_, equal = map(int, answer[3 * place : 3 * place + 3])
                    times[name].append(taken)
                    if number >= WARM_UP:
                        allocated[name] += bytes_
                        same[name] += equal
                bar.advance(1)
        process.stdin.close()
    typical = {name: float(np.median(taken[WARM_UP:])) / 1e6 for name, taken in times.items()}
    ways: dict[str, Any] = {
        name: {"median_ms": typical[name], "fastest_ms": min(taken[WARM_UP:]) / 1e6} for name, taken in times.items()
    }
    for name in WAYS:
        found = same[name] / (k * rounds)
        ways[name] |= {
            "same_rows": found == 1,
            "found": found,
            "allocated_bytes": allocated[name] // rounds if name != "c" else None,
        }
    return {
        "machine": platform.processor() or platform.machine(),
        "rows": rows,
        "dimension": dimension,
        "k": k,
        "rounds": rounds,
        "load": os.getloadavg()[0],
        "ways": ways,
        "ratio_to_c": typical["java"] / typical["c"],
        "ratio_to_faiss": typical["java"] / typical["faiss"],
    }


def _unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def _command(folder: Path, dimension: int, k: int) -> list[str]:
    library = folder / "libsearch.so"
    source = Path(__file__).with_suffix(".c")
    _tool(
        [
            "gcc",
            "-O3",
            "-march=native",
            f"-DDIMENSION={dimension}",
            "-shared",
            "-fPIC",
            "-o",
            str(library),
            str(source),
        ],
        "apt-get install gcc",
    )
    build = ["mvn", "-B", "-q", "-f", str(DEMO), "-pl", "jvm", "-am", "process-classes"]
    _tool(build, "apt-get install maven default-jdk-headless")
    classpath = f"{DEMO / 'jvm/target/classes'}{os.pathsep}{(DEMO / 'jvm/target/classpath.txt').read_text().strip()}"
    program = ["java", "-Xmx1g", "-cp", classpath, "org.distilltophone.jvm.SearchBench"]
    return [*program, str(folder / "gallery"), str(folder / "queries"), str(k), str(library)]


def _tool(command: list[str], cure: str) -> None:
    try:
        subprocess.run(command, check=True)
    except FileNotFoundError:
        raise Failure(f"{command[0]} is not installed", cure) from None
    except subprocess.CalledProcessError as error:
        raise Failure(f"{command[0]} exited with status {error.returncode}", "see its output above") from None


def _print(result: dict[str, Any]) -> None:
    print(
        f"top-{result['k']} of {result['rows']:,} x {result['dimension']} int8, median of {result['rounds']} queries, load {result['load']:.1f}"
    )
    for name, way in result["ways"].items():
        found = f"  {100 * way['found']:.1f} % of the exact rows" if "found" in way else ""
        print(f"  {name:28} {way['median_ms']:7.3f} ms  (fastest {way['fastest_ms']:.3f}){found}")
    print(f"Java / C {result['ratio_to_c']:.2f}    Java / faiss {result['ratio_to_faiss']:.2f}")


if __name__ == "__main__":
    raise SystemExit(run_app(app))
