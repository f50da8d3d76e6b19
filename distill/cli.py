"""The command ``distill-train``: teacher, student, evaluate, whiten, recipes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from distill.console import (
    DebugOption,
    JsonOption,
    JsonOutOption,
    UsageFailure,
    answer,
    make_app,
    plain_table,
    result_console,
    run_app,
)
from distill.files import check_output, check_output_folder
from distill.options import make_options, open_recipe, read_recipe, with_flags
from distill.recipe_files import find_recipe
from distill.training.config import RunConfig, StudentConfig, TeacherConfig

__all__ = ["app", "main"]

app = make_app(
    """Train a compact image-retrieval model from a large teacher.

    **First steps:**

    - `distill-train teacher --data folder:photos --arch resnet18 --weights imagenet --out runs/teacher`
    - `distill-train student --data folder:photos --teacher runs/teacher --out runs/student`
    - `distill-train evaluate runs/student --data folder:photos`

    `folder:photos` holds one folder of images for each class, or any images: a student with a teacher needs no labels.
    `glyphs` needs no files.
    """,
    program="distill-train",
)

OutOption = Annotated[Path, typer.Option("--out", "-o", help="Folder of the run.")]
RecipeOption = Annotated[
    Path | None,
    typer.Option(
        "--recipe",
        metavar="NAME|FILE",
        help="Options from a recipe: a name that `distill-train recipes` lists, or a YAML file. Flags override it.",
    ),
]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace the run in --out.")]


# Defaults of --strength, chosen on held-out train classes: docs/training.md.
STRENGTH = {"classes": 0.75, "pictures": 0.5}


@app.command()
@with_flags(TeacherConfig)
def teacher(
    out: OutOption,
    given: dict[str, Any],
    recipe: RecipeOption = None,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
    json_out: JsonOutOption = None,
    debug: DebugOption = False,
) -> None:
    """Train a teacher with a metric loss.

    - Fine-tune: `distill-train teacher --data folder:photos --arch resnet50 --weights imagenet --lr 1e-4 --out runs/teacher`
    - Any timm backbone, weights from a file: `--arch timm:tf_efficientnet_lite2 --weights lite2.pth`
    - Use its pretrained features as they are: `--epochs 0 --embedding-size 0`
    """
    _train("teacher", TeacherConfig, given, recipe, out, overwrite, as_json, json_out)


@app.command()
@with_flags(StudentConfig)
def student(
    out: OutOption,
    given: dict[str, Any],
    recipe: RecipeOption = None,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
    json_out: JsonOutOption = None,
    debug: DebugOption = False,
) -> None:
    """Train a student, with or without a teacher.

    - Distil, with labels or without: `distill-train student --data folder:photos --teacher runs/teacher --out runs/student`
    - From an ONNX file, from stored vectors, from two teachers: `--teacher model.onnx`, `--teacher-embeddings index.parquet`,
      `--teacher runs/a --teacher runs/b`
    - With labels as well: `--method absolute+multi_similarity:0.3`
    - Without a teacher, for comparison: `distill-train student --data folder:photos --method triplet --out runs/alone`
    """
    _train("student", StudentConfig, given, recipe, out, overwrite, as_json, json_out)


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(help="Folder of a trained run.")],
    data: Annotated[str | None, typer.Option("--data", help="Image set. Default: that of the run.")] = None,
    split: Annotated[
        str | None, typer.Option("--split", help="Split rule, as in training. Default: that of the run.")
    ] = None,
    part: Annotated[str, typer.Option("--part", help="Part of the split: test, train, validation or all.")] = "test",
    gallery_model: Annotated[
        Path | None,
        typer.Option(
            "--gallery-model", help="Run, bundle, .onnx or .tflite file that indexes the gallery (asymmetric search)."
        ),
    ] = None,
    gallery_embeddings: Annotated[
        Path | None,
        typer.Option(
            "--gallery-embeddings", help="Search these stored vectors (.npz, .npy, .parquet) instead of a model's."
        ),
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option(
            "--reference",
            help="Run whose nearest neighbours are compared with: agreement@K and rank correlation, which need no labels. "
            "Default for images without labels: the run's teacher.",
        ),
    ] = None,
    degrade: Annotated[
        str | None,
        typer.Option(
            "--degrade",
            help="Degrade the images: lowres:4, blur:2 or jpeg:20; join several with +. With --gallery-model: the queries only.",
        ),
    ] = None,
    nmi: Annotated[bool, typer.Option("--nmi", help="Also cluster the embeddings and report NMI (slow).")] = False,
    pairs: Annotated[
        Path | None,
        typer.Option("--pairs", help="Report the accuracy on these pairs instead: ten sets, as in LFW's pairs.txt."),
    ] = None,
    threshold_pairs: Annotated[
        Path | None, typer.Option("--threshold-pairs", help="Choose the threshold on these pairs (pairsDevTrain.txt).")
    ] = None,
    as_json: JsonOption = False,
    json_out: JsonOutOption = None,
    debug: DebugOption = False,
) -> None:
    """Measure Recall@K and MAP@R on classes that were not used in training; without labels, agreement with the teacher.

    - `distill-train evaluate runs/student`
    - Student queries in a gallery indexed by the teacher: `--gallery-model runs/teacher`
    - In the vectors of an existing index: `--gallery-embeddings index.parquet`
    - Images of low quality, which `--student-degrade` trains for: `--degrade lowres:4`
    - How far it finds what the teacher finds, with or without labels: `--reference runs/teacher`
    - Whether two images show the same person: `distill-train evaluate runs/faces --data lfw:lfw --pairs lfw/pairs.txt`
    """
    check_output(json_out, [run])
    if threshold_pairs and not pairs:
        raise UsageFailure("--threshold-pairs needs --pairs", "add --pairs FILE")
    if pairs:
        if gallery_model or gallery_embeddings or reference or nmi or split or part != "test":
            raise UsageFailure(
                "--pairs takes none of --gallery-model, --gallery-embeddings, --reference, --nmi, --split and --part",
                "leave them out: the pairs name the images",
            )
        _print(str(run), _verify(run, data, pairs, threshold_pairs, degrade), as_json, json_out)
        return
    if gallery_model and gallery_embeddings:
        raise UsageFailure("--gallery-model and --gallery-embeddings both name the gallery", "give one of them")
    from distill.runs import evaluate_run

    metrics = evaluate_run(run, data, split, part, gallery_model or gallery_embeddings, nmi, degrade, reference)
    _print(str(run), metrics, as_json, json_out)


@app.command()
def whiten(
    run: Annotated[Path, typer.Argument(help="Folder of a trained run.")],
    out: OutOption,
    by: Annotated[
        Literal["classes", "pictures"],
        typer.Option(
            "--by",
            help="classes: whiten by the variance within classes; pictures: by that of all images, without labels.",
        ),
    ] = "classes",
    strength: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=1.0,
            help="0 changes nothing, 1 equalizes all directions. Default: 0.75 with --by classes, 0.5 with --by pictures.",
        ),
    ] = None,
    data: Annotated[str | None, typer.Option("--data", help="Image set. Default: that of the run.")] = None,
    split: Annotated[
        str | None, typer.Option("--split", help="Split rule, as in training. Default: that of the run.")
    ] = None,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
    json_out: JsonOutOption = None,
    debug: DebugOption = False,
) -> None:
    """Rescale the embedding layer so that directions that vary within classes count less.

    - `distill-train whiten runs/student --out runs/whitened`, then compare the two results
    - Without labels: `distill-train whiten runs/student --by pictures --out runs/whitened`

    The network keeps its size and speed. It is fitted on the train part and measured on the test part. Galleries have
    to be indexed again with the whitened model.
    """
    check_output(json_out, [run])
    check_output_folder(out)
    from distill.whitening import whiten_run

    chosen = STRENGTH[by] if strength is None else strength
    _print(str(out), whiten_run(run, out, by, chosen, data, split, overwrite).metrics["test"], as_json, json_out)


@app.command()
def recipes(
    name: Annotated[str | None, typer.Argument(help="Print this recipe instead of the list.")] = None,
    as_json: JsonOption = False,
    json_out: JsonOutOption = None,
    debug: DebugOption = False,
) -> None:
    """List the recipes that come with the project, or print one.

    - Use one: `distill-train student --recipe photos-student --data folder:photos --teacher runs/teacher --out runs/student`
    - Change one: `distill-train recipes photos-student > mine.yaml`, edit it, then `--recipe mine.yaml`
    """
    from distill.recipe_files import recipe_summary, shipped_recipes

    check_output(json_out)
    if name is not None:
        path = find_recipe(Path(name))
        text = path.read_text(encoding="utf-8").rstrip()
        answer({"recipe": name, "options": read_recipe(path)}, lambda: print(text), as_json, json_out)
        return
    summaries = {found: recipe_summary(path) for found, path in shipped_recipes().items()}
    value = [{"recipe": found, "summary": summary} for found, summary in summaries.items()]
    answer(value, lambda: _print_pairs(summaries), as_json, json_out)


def _verify(
    run: Path, data: str | None, pairs: Path, threshold_pairs: Path | None, degrade: str | None
) -> dict[str, float]:
    from distill.training.degrade import degrade_rows
    from distill.verification import verify_run

    found = verify_run(run, data, pairs, threshold_pairs, degrade_rows(degrade))
    low, high = found.ci95
    return {"accuracy": found.accuracy, "ci95_low": low, "ci95_high": high, "standard_error": found.standard_error}


def _train(
    kind: Literal["teacher", "student"],
    config_type: type[RunConfig],
    given: dict[str, Any],
    recipe: Path | None,
    out: Path,
    overwrite: bool,
    as_json: bool,
    json_out: Path | None,
) -> None:
    config = make_options(config_type, given, open_recipe(recipe and find_recipe(recipe), config_type))
    check_output(json_out)
    check_output_folder(out)
    from distill.runs import train_run

    info = train_run(kind, config, out, overwrite)
    _print(str(out), info.metrics.get("test", {}), as_json, json_out)


def _print(run: str, metrics: dict[str, float], as_json: bool, json_out: Path | None) -> None:
    rows = {
        # A correlation is not a share of anything.
        name: f"{value:.3f}" if name == "rank_correlation" else f"{100 * value:.1f} %"
        for name, value in metrics.items()
    }
    answer({"run": run, "metrics": metrics}, lambda: _print_pairs(rows, run), as_json, json_out)


def _print_pairs(rows: dict[str, str], title: str = "") -> None:
    """Print two columns, which fit any terminal."""
    console, table = result_console(), plain_table(show_header=False)
    if title:
        console.print(title, style="bold", markup=False, soft_wrap=True)
    for row in rows.items():
        table.add_row(*row)
    console.print(table)


def main() -> None:
    """Run ``distill-train`` and exit with its code."""
    raise SystemExit(run_app(app))
