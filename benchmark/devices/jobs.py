"""Build the jobs for the runner on a device (JSON and the files they name), and run those that need one variant each."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np

from benchmark.devices.power import Energy, Unmeasurable, check, energy, read, watched
from benchmark.devices.session import Session, sha256
from benchmark.devices.side import Content, Message, marked
from benchmark.devices.spec import DEFAULT_DELEGATE
from benchmark.devices.work import Memory
from benchmark.timing import Plan
from distill.console import Failure
from export.bundle import Bundle
from export.bundle.formats import FORMATS
from export.bundle.runtime import input_table

__all__ = ["contents_of", "energy_on", "golden_for", "golden_hashes", "job_for", "memory_on", "npy"]

IDLE_SECONDS = 6.0  # before the program starts, which then opens the model
SLACK_SECONDS = 30.0  # to open the model


def job_for(bundle: Bundle, variants: Sequence[str], threads: int, delegate: str = DEFAULT_DELEGATE) -> Message:
    """Build the part that all jobs share: the model files and their tensors."""
    other = {} if delegate == DEFAULT_DELEGATE else {"delegate": delegate}
    return {
        "threads": threads,
        "variants": {
            variant.name: {
                "model": variant.sha256,
                "format": variant.format,
                "table": sha256(_table(bundle, variant.name)),
                "input": variant.input.model_dump(mode="json") | {"hwc": variant.input.hwc},
                "output": variant.output.model_dump(mode="json"),
            }
            | (other if FORMATS[variant.format].delegates else {})
            for variant in map(bundle.variant, variants)
        },
    }


def contents_of(bundle: Bundle, variants: Sequence[str]) -> dict[str, Content]:
    """Return model files and input tables by SHA-256."""
    contents: dict[str, Content] = {}
    for variant in map(bundle.variant, variants):
        contents[variant.sha256] = bundle.path(variant)
        table = _table(bundle, variant.name)
        contents[sha256(table)] = table
    return contents


def golden_hashes(bundle: Bundle, variants: Sequence[str]) -> dict[str, list[str]]:
    """Return the SHA-256 of the input tensor of each golden image, by variant; without variants that have none."""
    expected = bundle.manifest.golden.expected
    return {
        name: list(expected[name].input_sha256) for name in variants if name in expected and expected[name].input_sha256
    }


def golden_for(bundle: Bundle, variants: Sequence[str]) -> tuple[Message, dict[str, Content]]:
    """Build the part of a job by which the device checks its input tensors; empty for a bundle without their hashes."""
    hashes = golden_hashes(bundle, variants)
    if not hashes:
        return {}, {}
    pixels = npy(bundle.golden_pixels())
    return {"golden": {"pixels": sha256(pixels), "input_sha256": hashes}}, {sha256(pixels): pixels}


def memory_on(
    session: Session, bundle: Bundle, variants: Sequence[str], delegate: str = DEFAULT_DELEGATE
) -> dict[str, Memory]:
    """Measure the memory of each variant in a process of its own; leave out those that fail."""
    found = {}
    for name in variants:
        job, contents = job_for(bundle, [name], 1, delegate), contents_of(bundle, [name])
        for message in session.work("memory", job, contents, lambda message: None):
            if message.get("memory"):
                found[name] = Memory(**message["memory"])
    return found


def energy_on(
    session: Session,
    bundle: Bundle,
    variants: Sequence[str],
    plan: Plan,
    seconds: float,
    delegate: str = DEFAULT_DELEGATE,
) -> dict[str, Energy]:
    """Measure the energy of each variant, one after the other, each after an idle phase; leave out those that fail.

    Args:
        plan: Its threads and processors are used.
        seconds: Running time of each variant.

    Raises:
        Failure: the battery has no usable counter, or the device is being charged.
    """
    script, found = session.side.battery_script(), {}
    try:
        check(read(marked(session.side.transport.run(["sh", "-c", script]).stdout.splitlines())))
        for name in variants:
            job = job_for(bundle, [name], plan.threads, delegate)
            job |= {"seconds": seconds, "plan": {"cpus": list(plan.cpus)}}
            messages = session.work(
                "sustain",
                job,
                contents_of(bundle, [name]),
                lambda message: None,
                lambda words: watched(words, session.folder, IDLE_SECONDS, seconds + SLACK_SECONDS, script),
            )
            ran = next((message for message in messages if "ran" in message), None)
            if ran:
                found[name] = energy(read(messages), IDLE_SECONDS, ran["begun"], ran["ended"], ran["ran"])
    except Unmeasurable as why:
        raise Failure(f"{session.where}: {why}", "see docs/benchmark.md, Energy") from None
    return found


def npy(array: np.ndarray) -> bytes:
    """Return an array as the content of an .npy file."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _table(bundle: Bundle, name: str) -> bytes:
    return npy(input_table(bundle.variant(name).input, bundle.manifest.preprocessing))
