"""Write the verdict as JUnit XML for CI services."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from benchmark.result import Gate, Result, VariantResult
from distill.files import atomic_path

__all__ = ["junit_xml", "write_junit"]

# Characters that XML 1.0 cannot hold, even escaped.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit_xml(result: Result) -> bytes:
    """Return one test case per variant (it ran) and one per limit (it is kept), as UTF-8.

    The format is the one that Jenkins, GitLab and GitHub's report actions read: ``testsuites`` > ``testsuite`` > ``testcase``
    with ``failure``; times in seconds.
    """
    verdict = result.verdict
    failed = sum(variant.status == "failed" for variant in result.variants) + sum(
        not gate.passed for gate in verdict.gates
    )
    counts = {"tests": str(len(result.variants) + len(verdict.gates)), "failures": str(failed), "errors": "0"}
    root = ElementTree.Element("testsuites", {"name": "distill-bench", **counts})
    suite = ElementTree.SubElement(
        root,
        "testsuite",
        {
            "name": _clean(result.bundle.name),
            "timestamp": result.created[:19],
            "hostname": _clean(result.machine.device),
            **counts,
            "skipped": "0",
            "time": "0",
        },
    )
    properties = ElementTree.SubElement(suite, "properties")
    facts = {
        "candidate": verdict.candidate,
        "data": result.data.spec,
        "part": result.data.part,
        "images": result.data.images,
        "fingerprint": result.data.fingerprint,
        "cpu": result.machine.cpu,
        "command": result.command,
    }
    for name, value in facts.items():
        ElementTree.SubElement(properties, "property", name=name, value=_clean(str(value)))
    for variant in result.variants:
        _variant(suite, variant)
    for gate in verdict.gates:
        _gate(suite, gate, verdict.candidate)
    ElementTree.SubElement(suite, "system-out").text = _clean("\n".join([verdict.text, *verdict.warnings]))
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)


def write_junit(path: str | Path, result: Result) -> None:
    """Write the XML atomically."""
    data = junit_xml(result)
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def _variant(suite: ElementTree.Element, variant: VariantResult) -> None:
    time = variant.latency_ms.p50 / 1000 if variant.latency_ms else 0.0
    case = ElementTree.SubElement(
        suite, "testcase", classname="variants", name=_clean(f"{variant.name} runs"), time=f"{time:.6f}"
    )
    if variant.status == "failed":
        ElementTree.SubElement(case, "failure", message=_clean(variant.error or "failed"), type="variant")


def _gate(suite: ElementTree.Element, gate: Gate, candidate: str) -> None:
    case = ElementTree.SubElement(
        suite, "testcase", classname="limits", name=_clean(f"{candidate}: {gate.name}"), time="0"
    )
    value = "not measured" if gate.value is None else f"{gate.value:.4g} {gate.unit}"
    text = f"{value}, {'at most' if gate.kind == 'max' else 'at least'} {gate.limit:g} {gate.unit} allowed"
    if gate.passed:
        ElementTree.SubElement(case, "system-out").text = _clean(text)
    else:
        ElementTree.SubElement(case, "failure", message=_clean(text), type="limit")


def _clean(text: str) -> str:
    return _FORBIDDEN.sub("\ufffd", text)
