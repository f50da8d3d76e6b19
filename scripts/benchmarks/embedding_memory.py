"""A teacher over many images with the C library's memory kept, beside its default, in one process.

    python scripts/benchmarks/embedding_memory.py
    python scripts/benchmarks/embedding_memory.py --arch resnet50 --size 224

The setting cannot be taken back, so each side is a child process that lives through the whole
benchmark and computes a turn when asked to: the turns interleave.
"""

from __future__ import annotations

import json
import multiprocessing
import statistics
import sys
import time
from multiprocessing.connection import Connection
from typing import Annotated

import typer

from distill.console import DebugOption, JsonOption, make_app, note, run_app

app = make_app(__doc__ or "", default_command="run")
SIDES = {"kept": True, "C library's default": False}


@app.command()
def run(
    arch: Annotated[
        str, typer.Option(help="Backbone; random weights, only its speed matters.")
    ] = "timm:tf_efficientnet_lite2",
    size: Annotated[int, typer.Option(min=32, help="Input, pixels.")] = 240,
    images: Annotated[int, typer.Option(min=64, help="Images a turn, in batches of 32.")] = 192,
    turns: Annotated[int, typer.Option(min=1)] = 5,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Time ``distill.models.parallel.map_batches`` both ways, in turns."""
    context = multiprocessing.get_context("spawn")
    links: dict[str, Connection] = {}
    for name, kept in SIDES.items():
        links[name], theirs = context.Pipe()
        context.Process(target=_side, args=(theirs, kept, arch, size, images), daemon=True).start()
        theirs.close()
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in SIDES}
    for turn in range(turns + 1):  # the first warms up
        for name, link in links.items():
            note(f"turn {turn}: {name} …")
            link.send(True)
            measured = link.recv()
            if turn:
                times[name].append(measured)
    wall = {name: statistics.median(t[0] for t in values) for name, values in times.items()}
    system = {name: statistics.median(t[1] for t in values) for name, values in times.items()}
    kept, default = SIDES
    if as_json:
        print(
            json.dumps(
                {"ms_per_image": wall, "system_ms_per_image": system, "ratio": wall[kept] / wall[default]}, indent=2
            )
        )
        return
    for name in SIDES:
        print(f"{name:22} {wall[name]:7.2f} ms/image, {system[name]:6.2f} of it in the kernel (all cores)")
    print(f"kept / default: {wall[kept] / wall[default]:.2f}")


def _side(link: Connection, kept: bool, arch: str, size: int, images: int) -> None:
    import resource

    import torch

    from distill.models.allocator import keep_memory
    from distill.models.parallel import map_batches
    from distill.models.registry import build_backbone

    if kept and not keep_memory():
        raise SystemExit("this C library has no such setting")
    torch.manual_seed(0)
    model = build_backbone(arch, None).eval().to(memory_format=torch.channels_last)
    pixels = torch.randn(32, 3, size, size).contiguous(memory_format=torch.channels_last)

    @torch.inference_mode()
    def embed(batch: torch.Tensor) -> object:
        return model(batch).mean((2, 3)).numpy()

    while True:
        try:
            link.recv()
        except EOFError:
            return
        before = resource.getrusage(resource.RUSAGE_SELF).ru_stime
        began = time.perf_counter()
        map_batches(embed, [pixels] * (images // 32), torch.device("cpu"))
        seconds = time.perf_counter() - began
        kernel = resource.getrusage(resource.RUSAGE_SELF).ru_stime - before
        link.send((1e3 * seconds / images, 1e3 * kernel / images))


if __name__ == "__main__":
    raise SystemExit(run_app(app, sys.argv[1:]))
