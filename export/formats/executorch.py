"""ExecuTorch programs (.pte) of any network, for XNNPACK: PyTorch's own format for phones. Extra ``executorch``.

Input ``[1, 3, side, side]`` float32, scaled; output ``[1, D]`` float32, unit rows. Float32 only.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import warnings
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from distill.console import Failure
from distill.console.errors import first_line
from export.bundle.quiet import quiet_stderr
from export.bundle.schema import InputSpec, Operator, OutputSpec
from export.job import BuiltFile, Job
from export.targets import EXACT, FLOAT32, Target

if TYPE_CHECKING:
    from distill.models.embedder import Embedder
    from export.int8.repair.settings import Repaired

__all__ = ["EXECUTORCH_FLOAT32", "missing_executorch", "to_executorch"]

_WORK = ("DelegateCall", "KernelCall")


def missing_executorch(model: Embedder | None = None) -> Failure | None:
    """Return the error to show if the extra ``executorch`` is not installed. Every network is supported."""
    if importlib.util.find_spec("executorch") is not None:
        return None
    return Failure("executorch is not installed", "pip install 'distill-to-phone[executorch]'")


def to_executorch(
    model: Embedder, side: int, debug: bool = False
) -> tuple[bytes, tuple[InputSpec, OutputSpec, tuple[Operator, ...]]]:
    """Convert a network.

    Args:
        model: in evaluation mode.
        side: input size, pixels.
        debug: show ExecuTorch's messages.

    Returns:
        The program, and its tensors and operators: one ``DELEGATE`` for each part that XNNPACK runs as a whole.

    Raises:
        Failure: the extra is not installed, or ExecuTorch failed on this network.
    """
    if missing := missing_executorch():
        raise missing
    import torch

    before = logging.root.manager.disable
    try:
        with quiet_stderr(not debug), contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            logging.disable(logging.NOTSET if debug else logging.WARNING)
            from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
            from executorch.exir import to_edge_transform_and_lower

            exported = torch.export.export(model.eval(), (torch.zeros(1, 3, side, side),))
            program = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()]).to_executorch()
            plan = program.executorch_program.execution_plan[0]
            kinds = [type(step.instr_args).__name__ for chain in plan.chains for step in chain.instructions]
            names = ["DELEGATE" if kind == "DelegateCall" else "KERNEL" for kind in kinds if kind in _WORK]
            content = bytes(program.buffer)
    except Exception as error:  # torch.export and the backend raise all kinds of types
        first = first_line(error)
        raise Failure(
            f"{model.backbone.arch}: ExecuTorch failed: {first}", "run again with --debug and report it"
        ) from error
    finally:
        logging.disable(before)
    size = model.embedding_size
    facts = (
        InputSpec(name="image", shape=(1, 3, side, side), layout="NCHW", dtype="float32"),
        OutputSpec(name="embedding", shape=(1, size), dtype="float32", unit_norm=True, renormalise=False),
        tuple(Operator(name=name, count=count) for name, count in Counter(names).items()),
    )
    return content, facts


def _build(target: Target, job: Job, path: Path, repaired: Repaired | None) -> BuiltFile:
    content, facts = to_executorch(job.model, job.preprocessing.input_size, job.debug)
    path.write_bytes(content)
    return BuiltFile(*facts, producer=f"executorch {version('executorch')}, XNNPACK")


EXECUTORCH_FLOAT32 = Target("executorch", "none", FLOAT32, _build, EXACT, 0.99999)
