"""``distill-train``: teacher, student, evaluate, whiten."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from distill.console import DebugOption, JsonOption, UsageFailure, make_app, run_app
from distill.files import check_output_folder
from distill.options import read_recipe, with_flags
from distill.training.config import RunConfig, StudentConfig, TeacherConfig, make_config

__all__ = ["app", "main"]

app = make_app(
    """Train a compact image-retrieval model from a big teacher.

    **From nothing to a student:**

    - `distill-train teacher --data folder:photos --arch resnet18 --weights imagenet --out runs/teacher`
    - `distill-train student --data folder:photos --teacher runs/teacher --method relative --out runs/student`
    - `distill-train evaluate runs/student --data folder:photos`

    `folder:photos` holds one folder of images for each class; `glyphs` needs no files at all.
    """
)

OutOption = Annotated[Path, typer.Option("--out", "-o", help="Folder of the run.")]
RecipeOption = Annotated[Path | None, typer.Option("--recipe", help="YAML file of options; flags win over it.")]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace a run that --out holds.")]


STRENGTH = {"classes": 0.75, "pictures": 0.5}  # chosen on held-out train classes: docs/training.md


@app.command()
@with_flags(TeacherConfig)
def teacher(
    out: OutOption,
    given: dict[str, Any],
    recipe: RecipeOption = None,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Train a teacher with a metric loss.

    - Fine-tune: `distill-train teacher --data folder:photos --arch resnet50 --weights imagenet --lr 1e-4 --out runs/teacher`
    - Any timm backbone, weights from a file: `--arch timm:tf_efficientnet_lite2 --weights lite2.pth`
    - Use its pretrained features as they are: `--epochs 0 --embedding-size 0`
    """
    _train("teacher", TeacherConfig, given, recipe, out, overwrite, as_json)


@app.command()
@with_flags(StudentConfig)
def student(
    out: OutOption,
    given: dict[str, Any],
    recipe: RecipeOption = None,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Train a student, from a teacher or alone.

    - Distil: `distill-train student --data folder:photos --teacher runs/teacher --method relative --out runs/student`
    - With labels too: `--method relative:1+multi_similarity:0.1`
    - Alone, for comparison: `distill-train student --data folder:photos --method triplet --out runs/alone`
    """
    _train("student", StudentConfig, given, recipe, out, overwrite, as_json)


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(help="Folder of a trained run.")],
    data: Annotated[str | None, typer.Option("--data", help="Images. Default: what it was trained on.")] = None,
    split: Annotated[str | None, typer.Option("--split", help="As in training. Default: the run's.")] = None,
    part: Annotated[str, typer.Option("--part", help="test, train, validation or all.")] = "test",
    gallery_model: Annotated[
        Path | None, typer.Option("--gallery-model", help="Run that indexes the gallery (asymmetric search).")
    ] = None,
    degrade: Annotated[
        str | None,
        typer.Option(
            "--degrade",
            help="Make the pictures worse: lowres:4, blur:2 or jpeg:20, joined by +; beside --gallery-model the queries alone.",
        ),
    ] = None,
    nmi: Annotated[bool, typer.Option("--nmi", help="Also cluster and report NMI (slow).")] = False,
    pairs: Annotated[
        Path | None, typer.Option("--pairs", help="Accuracy on these pairs instead: pairs.txt of LFW, ten sets.")
    ] = None,
    threshold_pairs: Annotated[
        Path | None, typer.Option("--threshold-pairs", help="Choose the threshold on these (pairsDevTrain.txt).")
    ] = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Measure Recall@K and MAP@R on classes that were not trained.

    - `distill-train evaluate runs/student`
    - Student queries against a gallery that the teacher indexed: `--gallery-model runs/teacher`
    - Poor photos: `--degrade lowres:4`; what `--student-degrade` trained for
    - Same face or not: `distill-train evaluate runs/faces --data lfw:lfw --pairs lfw/pairs.txt`
    """
    if threshold_pairs and not pairs:
        raise UsageFailure("--threshold-pairs goes with --pairs", "add --pairs FILE")
    if pairs:
        if gallery_model or nmi or split or part != "test":
            raise UsageFailure(
                "--pairs takes neither --gallery-model, --nmi, --split nor --part",
                "the list says which pictures are compared",
            )
        _print(str(run), _verify(run, data, pairs, threshold_pairs, degrade), as_json)
        return
    from distill.runs import evaluate_run

    metrics = evaluate_run(run, data, split, part, gallery_model, nmi, degrade)
    _print(str(run), metrics, as_json)


@app.command()
def whiten(
    run: Annotated[Path, typer.Argument(help="Folder of a trained run.")],
    out: OutOption,
    by: Annotated[
        Literal["classes", "pictures"],
        typer.Option(
            "--by", help="classes: by how pictures of one class differ; pictures: by how all do, without labels."
        ),
    ] = "classes",
    strength: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=1.0,
            help="0 changes nothing, 1 evens all directions out. Default: 0.75 by classes, 0.5 by pictures.",
        ),
    ] = None,
    data: Annotated[str | None, typer.Option("--data", help="Images. Default: what it was trained on.")] = None,
    split: Annotated[str | None, typer.Option("--split", help="As in training. Default: the run's.")] = None,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Rescale the embedding layer so that what differs inside classes counts less; the network stays as fast and as large.

    - `distill-train whiten runs/student --out runs/whitened`, then compare the two figures
    - Without labels: `distill-train whiten runs/student --by pictures --out runs/whitened`

    Fitted on the train part, measured on the test part. Galleries have to be indexed again, by the whitened model.
    """
    check_output_folder(out)
    from distill.whitening import whiten_run

    chosen = STRENGTH[by] if strength is None else strength
    _print(str(out), whiten_run(run, out, by, chosen, data, split, overwrite).metrics["test"], as_json)


def _verify(
    run: Path, data: str | None, pairs: Path, threshold_pairs: Path | None, degrade: str | None
) -> dict[str, float]:
    from distill.training.degrade import degrade_rows
    from distill.verification import verify_run

    found = verify_run(run, data, pairs, threshold_pairs, degrade_rows(degrade))
    low, high = found.ci95
    return {"accuracy": found.accuracy, "ci95_low": low, "ci95_high": high, "standard_error": found.standard_error}


def _train(
    kind: str,
    config_type: type[RunConfig],
    given: dict[str, Any],
    recipe: Path | None,
    out: Path,
    overwrite: bool,
    as_json: bool,
) -> None:
    values = read_recipe(recipe) if recipe else {}
    make_config(config_type, values, str(recipe))
    config = make_config(config_type, values | given)
    check_output_folder(out)
    from distill.runs import train_run

    info = train_run(kind, config, out, overwrite)
    _print(str(out), info.metrics.get("test", {}), as_json)


def _print(name: str, metrics: dict[str, float], as_json: bool) -> None:
    if as_json:
        print(json.dumps({"run": name, "metrics": metrics}))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("run", *metrics)
    table.add_row(name, *(f"{100 * value:.1f} %" for value in metrics.values()))
    Console().print(table)


def main() -> None:
    """Entry point of ``distill-train``."""
    raise SystemExit(run_app(app))
