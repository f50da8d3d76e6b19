from __future__ import annotations

import json

import pytest
from export_helpers import edit
from hypothesis import given
from hypothesis import strategies as st

from distill.console import Failure, run_app
from export.bundle import load_bundle
from export.bundle.card import flat_metrics, model_card
from export.bundle.schema import Manifest
from export.cli import app


def test_the_card_in_the_bundle_is_made_of_its_description(made_bundle):
    manifest = load_bundle(made_bundle).manifest
    assert (made_bundle / manifest.model_card.file).read_text() == model_card(manifest)


def test_it_says_what_was_measured(made_bundle):
    text = (made_bundle / "MODEL_CARD.md").read_text()
    manifest = load_bundle(made_bundle).manifest
    for variant in manifest.variants:
        row = next(line for line in text.splitlines() if line.startswith(f"| {variant.name} "))
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert cells[1] == f"{variant.size_bytes / 1000:.1f}"
        assert cells[-2] == f"{variant.check.mean_cosine:.4f}"
        assert cells[-1] == "passed"
    for words in (
        "16 numbers",
        "64 x 64 pixels RGB",
        "18 images of folder:",
        "CC0-1.0",
        manifest.provenance.source.sha256,
    ):
        assert words in text, words
    assert "licence of the training data: not stated" in text


def test_metrics_and_failures_show(made_bundle):
    content = json.loads((made_bundle / "bundle.json").read_text())
    content["provenance"]["source"]["metrics"] = {"test": {"recall@1": 0.71234, "note": "x"}, "seen": True}
    content["provenance"]["source"]["space"] = "ac2e422d31d10513"
    content["variants"][1]["check"]["passed"] = False
    content["variants"][1]["repair"] = "cle+bias"
    text = model_card(Manifest.model_validate(content))
    assert "| test recall@1 | 0.7123 |" in text
    assert "**failed**" in text
    assert "cle+bias" in text
    assert "teacher ac2e422d31d10513" in text


def test_only_numbers_are_metrics():
    assert dict(flat_metrics({"a": {"b": {"c": 1}}, "d": "x", "e": True, "f": None})) == {"a b c": 1.0}


@given(st.text(min_size=1, max_size=60))
def test_names_stay_text(made_name: str):
    """No folder name breaks the table or becomes markup."""
    from export.bundle.card import _text

    shown = _text(made_name)
    assert "\n" not in shown
    plain = shown.replace("\\\\", "")
    for sign in "|<[`*":
        assert plain.count(sign) == plain.count("\\" + sign)


def test_a_changed_card_is_refused(bundle):
    (bundle / "MODEL_CARD.md").write_text("a better one")
    with pytest.raises(Failure, match=r"MODEL_CARD\.md"):
        load_bundle(bundle)


def test_bundles_without_one_stay_readable(bundle, capsys):
    edit(bundle, lambda content: content.pop("model_card"))
    assert load_bundle(bundle).manifest.model_card is None
    assert run_app(app, ["inspect", str(bundle)]) == 0
    assert "model card" in capsys.readouterr().out
