"""What this computer is: recorded beside every figure, since a latency without it says nothing."""

from __future__ import annotations

from benchmark.result import Machine
from benchmark.system import RUN_PACKAGES, machine_facts, package_versions

__all__ = ["RUN_PACKAGES", "describe_host", "package_versions"]


def describe_host() -> Machine:
    """CPU, memory, system and library versions; what the system does not tell is null."""
    return Machine(device="host", **machine_facts())
