from __future__ import annotations

import base64
import io
import itertools
import re
from html.parser import HTMLParser

import benchmark_fakes as fakes
import numpy as np
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st

import benchmark.report.neighbours as neighbours_module
from benchmark.report import charts
from benchmark.report.html import render, write_report
from benchmark.report.neighbours import data_uri, neighbour_sheet
from benchmark.result import VariantResult

HOSTILE = "<script>alert(1)</script>\" onerror='x' <img src=http:evil>&amp;"


class Page(HTMLParser):
    """All tags with their attributes, and all text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.words)


@pytest.fixture
def page(measured) -> Page:
    result, evidence = measured
    return Page(render(result, neighbour_sheet(evidence, result.verdict.candidate)))


def test_the_page_stands_alone(page):
    for tag, attributes in page.tags:
        assert tag not in ("script", "link", "iframe", "object", "embed", "base")
        for name in ("src", "href", "srcset", "data", "poster"):
            assert (attributes.get(name) or "data:").startswith("data:")
    styles = page.words[next(i for i, word in enumerate(page.words) if "color-scheme" in word)]
    assert "url(" not in styles and "@import" not in styles
    assert "prefers-color-scheme: dark" in styles


def test_the_page_forbids_scripts_and_network(page):
    policy = next(attributes["content"] for tag, attributes in page.tags if "http-equiv" in attributes)
    assert "default-src 'none'" in policy and "script-src" not in policy


def test_it_has_the_figures(page, result):
    int8 = result.variant("tflite-int8")
    assert f"{100 * int8.recall[1]:.1f}" in page.text
    assert f"{int8.latency_ms.p50:.3f}" in page.text
    assert result.verdict.text in page.text and result.command in page.text
    assert "Does not pass" in page.text  # the planted drop is above 0.1 points
    for word in ("Recall@K", "MAP@R", "McNemar", "kB", "Fingerprint", "teacher"):
        assert word in page.text


def test_images_are_small_and_marked_right_or_wrong_by_a_symbol_too(page, measured):
    sources = [attributes["src"] for tag, attributes in page.tags if tag == "img"]
    assert len(sources) > 40
    for source in sources[:5]:
        image = PIL.Image.open(io.BytesIO(base64.b64decode(source.removeprefix("data:image/webp;base64,"))))
        assert image.format == "WEBP" and max(image.size) <= 96
    assert "✓" in page.text and "✗" in page.text
    marks = [attributes.get("aria-label") for tag, attributes in page.tags if tag == "b" and "role" in attributes]
    assert {"right", "wrong"} == set(marks)


def test_the_sheet_agrees_with_the_scores(measured):
    result, evidence = measured
    found = neighbour_sheet(evidence, "tflite-int8")
    groups = {group.kind: group for group in found.groups}
    hits, counted = evidence.scores.hits[1], evidence.scores.counted
    assert groups["wrong"].total == int((counted & ~hits).sum())
    assert groups["lost"].total == result.variant("tflite-int8").flips.lost
    for kind, right in (("right", True), ("wrong", False)):
        for query in groups[kind].queries:
            images = query.rows[0].images
            assert images[0].right is right
            assert query.image.key not in [image.key for image in images]
            assert all(image.right == (image.class_name == query.image.class_name) for image in images)
            distances = [image.distance for image in images]
            assert distances == sorted(distances) and 0 <= distances[0] <= distances[-1] <= 2
    for query in groups["lost"].queries:
        pytorch, variant = query.rows
        assert pytorch.model == "PyTorch" and pytorch.images[0].right and not variant.images[0].right


def test_no_query_is_shown_twice(measured):
    _, evidence = measured
    keys = [query.image.key for group in neighbour_sheet(evidence, "x").groups for query in group.queries]
    assert len(keys) == len(set(keys))


def test_the_choice_of_queries_depends_on_the_seed(measured):
    _, evidence = measured
    assert neighbour_sheet(evidence, "x", seed=1) == neighbour_sheet(evidence, "x", seed=1)
    assert neighbour_sheet(evidence, "x", seed=1) != neighbour_sheet(evidence, "x", seed=2)


def test_all_queries_of_a_model_are_searched_at_once(measured, monkeypatch):
    """Each search copies all embeddings and looks for equal ones: it was done for every query."""
    searched = []
    inner = neighbours_module.nearest
    monkeypatch.setattr(
        neighbours_module,
        "nearest",
        lambda queries, *rest, **more: (searched.append(len(queries)), inner(queries, *rest, **more))[1],
    )
    found = neighbour_sheet(measured[1], "tflite-int8")
    queries = sum(len(group.queries) for group in found.groups)
    assert queries > 10 and searched == [queries, queries]  # PyTorch and the candidate


def test_only_images_that_are_shown_are_kept(measured, monkeypatch):
    kept = []
    inner = neighbours_module._Studio.query

    def query(self, *arguments):
        found = inner(self, *arguments)
        shown = {image.src for one in answered for image in [one.image, *(i for row in one.rows for i in row.images)]}
        if found:
            answered.append(found)
        else:
            kept.append((set(self._shown.values()), shown))
        return found

    answered: list = []
    monkeypatch.setattr(neighbours_module._Studio, "query", query)
    assert neighbour_sheet(measured[1], "tflite-int8", budget=12_000).dropped == len(kept) > 5
    assert all(held == shown for held, shown in kept)


def test_images_stop_at_the_budget_and_the_page_says_so(measured):
    result, evidence = measured
    small = neighbour_sheet(evidence, "tflite-int8", budget=12_000)
    used = sum(
        len(image.src)
        for group in small.groups
        for query in group.queries
        for image in [query.image, *itertools.chain(*(row.images for row in query.rows))]
    )
    assert used <= 12_000 and small.dropped > 0
    assert "left out to keep this file small" in render(result, small)


def test_noise_images_stay_below_two_megabytes():
    noise = np.random.default_rng(0).integers(0, 256, (400, 300, 3), dtype=np.uint8)
    assert len(data_uri(PIL.Image.fromarray(noise))) < 14_000  # the worst case times the budget's count


def test_hostile_names_are_text(tmp_path, toy_engines):
    names = [f"{HOSTILE.replace('/', '∕')}{n}" for n in range(4)]
    photos = fakes.make_photos(tmp_path / "evil", classes=4, names=names)
    bundle = fakes.make_bundle(tmp_path / "evil bundle", f"folder:{photos}")
    from benchmark.run import BenchmarkOptions, measure
    from benchmark.timing import Plan

    plan = Plan(seconds=0, min_samples=10, max_samples=10, warmup_max_runs=20)
    evil, evidence = measure(BenchmarkOptions(bundle, part="all", plan=plan, command=f"distill-bench {HOSTILE}"))
    evil.bundle.name = evil.machine.cpu = HOSTILE
    evil.verdict.warnings.append(HOSTILE)
    evil.variants.append(VariantResult(name=HOSTILE, status="failed", error=HOSTILE, size_bytes=1))
    evil.variants[0].name = HOSTILE + "2"
    evil.bundle.provenance["source"]["training"] = {HOSTILE: HOSTILE}
    page = Page(render(evil, neighbour_sheet(evidence, HOSTILE)))
    tags = [tag for tag, _ in page.tags]
    assert "script" not in tags
    assert all((attributes.get("src") or "data:").startswith("data:") for _, attributes in page.tags)
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert HOSTILE in page.text and names[0] in page.text


def test_a_result_without_images_checkpoint_or_latency_still_renders(result):
    bare = result.model_copy(deep=True)
    bare.pytorch, bare.references, bare.machine.latency = None, [], None
    for variant in bare.variants:
        variant.latency_ms = variant.end_to_end_ms = variant.recall_drop = variant.cosine = variant.flips = None
    page = Page(render(bare, None))
    assert "no checkpoint to compare with" in page.text and not [t for t, _ in page.tags if t == "img"]


def test_a_bundle_whose_every_variant_failed_renders(result):
    broken = result.model_copy(deep=True)
    broken.variants = [VariantResult(name=v.name, status="failed", error="no", size_bytes=1) for v in broken.variants]
    assert "failed: no" in Page(render(broken, None)).text


def test_the_file_is_written_whole_or_not_at_all(result, tmp_path, monkeypatch):
    target = tmp_path / "r.html"
    target.write_text("old")
    monkeypatch.setattr(
        "pathlib.Path.write_text", lambda *a, **k: (_ for _ in ()).throw(OSError(28, "No space left on device"))
    )
    with pytest.raises(OSError):
        write_report(target, result, None)
    monkeypatch.undo()
    assert target.read_text() == "old" and [path.name for path in tmp_path.iterdir() if path.suffix == ".html"] == [
        "r.html"
    ]


@given(st.floats(-1e3, 1e3), st.floats(1e-3, 1e4), st.integers(2, 8))
def test_ticks_are_few_round_and_inside(low, span, count):
    ticks = charts.nice_ticks(low, low + span, count)
    assert len(ticks) <= 2 * count + 2
    assert all(low - 1e-6 * span - 1e-9 <= tick <= low + span + 1e-6 * span + 1e-9 for tick in ticks)
    if len(ticks) > 2:
        steps = np.diff(ticks)
        assert np.allclose(steps, steps[0])
        assert re.match(r"[125]\.?0*e", f"{steps[0]:e}")


def test_labels_of_the_scatter_do_not_overlap(result):
    for width, height in ((980, 430), (360, 330)):
        chart = charts.scatter(result, width, height)
        labels = [(bubble.label_x, bubble.label_y) for bubble in chart.bubbles]
        for (x0, y0), (x1, y1) in itertools.combinations(labels, 2):
            assert abs(y0 - y1) > 10 or abs(x0 - x1) > 40
        for bubble in chart.bubbles:
            assert chart.left <= bubble.x <= chart.right and chart.top <= bubble.y <= chart.bottom


def test_the_histogram_counts_every_sample_once(result):
    drawn = charts.distribution(result)
    assert drawn.samples == sum(variant.latency_ms.samples for variant in result.variants)
    assert 0 <= drawn.beyond < drawn.samples
