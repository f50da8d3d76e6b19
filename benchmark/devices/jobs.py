"""What is asked of the runner on a device, as JSON, and the files that go with it."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np

from benchmark.devices.base import DEFAULT_DELEGATE
from benchmark.devices.messages import marked
from benchmark.devices.power import Energy, Unmeasurable, check, energy, read, tick, watched
from benchmark.devices.session import Session, sha256
from benchmark.devices.side import Content, Message
from benchmark.devices.work import Memory
from benchmark.timing import Plan
from distill.console import Failure
from export.bundle import Bundle
from export.bundle.runtime import input_table

__all__ = ["contents_of", "energy_on", "job_for", "memory_on", "npy"]

IDLE_SECONDS = 6.0  # before the model runs
SLACK_SECONDS = 30.0  # for opening it


def job_for(bundle: Bundle, variants: Sequence[str], threads: int, delegate: str = DEFAULT_DELEGATE) -> Message:
    """The part that all jobs share: which files, what their tensors are."""
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
            | (other if variant.format == "tflite" else {})
            for variant in map(bundle.variant, variants)
        },
    }


def contents_of(bundle: Bundle, variants: Sequence[str]) -> dict[str, Content]:
    """Models and tables by SHA-256."""
    contents: dict[str, Content] = {}
    for variant in map(bundle.variant, variants):
        contents[variant.sha256] = bundle.path(variant)
        table = _table(bundle, variant.name)
        contents[sha256(table)] = table
    return contents


def memory_on(
    session: Session, bundle: Bundle, variants: Sequence[str], delegate: str = DEFAULT_DELEGATE
) -> dict[str, Memory]:
    """Memory of each variant, each in a process of its own; those that fail or cannot be measured are left out."""
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
    """Energy of each variant, one after the other, each after a stretch of idling; those that fail are left out.

    Args:
        plan: of which threads and processors count.
        seconds: that each runs.

    Raises:
        Failure: there is nothing to measure with, or the device is being charged.
    """
    android, found = session.side.android, {}
    try:
        check(read(marked(session.side.transport.run(["sh", "-c", tick(android)]).stdout.splitlines())))
        for name in variants:
            job = job_for(bundle, [name], plan.threads, delegate)
            job |= {"seconds": seconds, "plan": {"cpus": list(plan.cpus)}}
            messages = session.work(
                "sustain",
                job,
                contents_of(bundle, [name]),
                lambda message: None,
                lambda words: watched(words, session.folder, IDLE_SECONDS, seconds + SLACK_SECONDS, android),
            )
            ran = next((message for message in messages if "ran" in message), None)
            if ran:
                found[name] = energy(read(messages), ran["begun"], ran["ended"], ran["ran"])
    except Unmeasurable as why:
        raise Failure(f"{session.where}: {why}", "docs/benchmark.md, Energy") from None
    return found


def npy(array: np.ndarray) -> bytes:
    """An array as the content of an .npy file."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _table(bundle: Bundle, name: str) -> bytes:
    return npy(input_table(bundle.variant(name).input, bundle.manifest.preprocessing))
