"""``distill-export``: checkpoint to bundle, and a look into bundles."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from distill.console import DebugOption, Failure, JsonOption, UsageFailure, make_app, note, run_app
from distill.files import check_output, check_output_folder
from export.int8.repair.settings import QatSettings

if TYPE_CHECKING:
    from export.attempt import Outcome

__all__ = ["app", "main"]

HELP = """
Turn a checkpoint into a **bundle**: a folder with model files for a phone and all that an app
must know to use them (docs/bundle.md).

Examples:

    distill-export runs/student --out runs/bundle

    distill-export runs/student --target tflite --quantize int8 --calibration-data folder:photos --out b

    distill-export inspect runs/bundle

    distill-export verify runs/bundle
"""
RUN_HELP = """
Export a checkpoint and check every file against PyTorch.

Every variant is compared with PyTorch on images that took no part in calibration. If one is out
of tolerance the command ends with exit code 1, OUT is left untouched, and the files go to
OUT.failed for inspection.

What to take (measured with scripts/benchmarks/export_latency.py on x86-64 with VNNI and AMX, one thread,
MobileNet-0.25 at 224 pixels; other processors rank otherwise: measure on yours, with distill-bench):

- **int8**, full integer, int8 input and output: the smallest file (335 kB). There it took 1.26 times
  float32's time.
- **--repair cle+bias** where int8 loses: on birds it took Recall@1 from 1.0 points below PyTorch to
  0.1 (docs/quantization.md), in seconds; the file's size and speed stay the same.
- **--repair qat** trains the rounded network against its own float embeddings: no labels, a minute or two.
  Best after the others: **cle+bias+qat**. **auto** takes the first of none, cle, bias, cle+bias,
  cle+bias+qat that is good enough.
- **--io** chooses what an int8 file takes and gives. int8 costs nothing: with mean = std = 128 the
  input is pixel - 128. MediaPipe and the TFLite Task Library refuse it; they take float32 (1.06
  times int8's time) or uint8 (a QUANTIZE operator more at each end: 1.12 times).
- dynamic-range quantization took 1.2 times float32's time and rounds the weights all the same. Not offered.
- **--exclude-layers 1** keeps the layer in float that int8 hurts most; **--calibration-range** cuts outliers
  off the ranges of activations (docs/quantization.md).
- **float16** halves the file; arithmetic stays float32, and so does the speed.
- **int16x8** (int8 weights, 16-bit activations) is for accelerators: on a CPU TFLite runs it without
  XNNPACK, about 60 times slower than int8 (scripts/benchmarks/quantization_choices.py).
- All of it is for mobilenet_v1_*, timm:mobilenetv2_* and timm's *efficientnet_lite*. Other networks go to
  TFLite (none, int8) with the extra generic, without repair and --exclude-layers.

Examples:

    distill-export runs/student --out runs/bundle

    distill-export runs/student --target all --quantize all --out runs/bundle --overwrite

    distill-export runs/student --target tflite --quantize none,int8 --calibration-images 500 --out b

    distill-export runs/student --quantize int8 --tolerance int8=0.8 --out b

    distill-export runs/student --quantize int8 --repair auto --debug-layers runs/layers --out b

    distill-export runs/student --quantize int8 --repair cle+bias+qat --qat-steps 300 --out b

    distill-export runs/student --target tflite --quantize int8 --io int8,float32 --out b
"""

CALIBRATE = "calibrate with more images of the kind the app will see, widen --tolerance, or leave it out"

QAT = QatSettings()

app = make_app(HELP, default_command="run")


@app.command(help=RUN_HELP)
def run(
    checkpoint: Annotated[Path, typer.Argument(metavar="DIR", help="Checkpoint folder of distill-train.")],
    out: Annotated[Path, typer.Option("--out", metavar="BUNDLE", help="Folder to write.")],
    target: Annotated[
        str, typer.Option(help="tflite, onnx, executorch (only by name), all, or several with commas.")
    ] = "all",
    quantize: Annotated[
        str, typer.Option(help="none, float16, int8, int16x8, all, or several with commas.")
    ] = "none,int8",
    io: Annotated[
        str,
        typer.Option(
            help="What quantized TFLite files take: auto (int8 for int8, float32 for int16x8), int8, uint8, "
            "float32, int16, all."
        ),
    ] = "auto",
    calibration_data: Annotated[
        str | None,
        typer.Option(
            metavar="SPEC",
            help="Data that sets the int8 ranges and checks the result, e.g. folder:photos. "
            "Default: the train part of the checkpoint's own data.",
        ),
    ] = None,
    calibration_images: Annotated[int, typer.Option(min=1, max=100_000, help="How many of its images.")] = 200,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of the choice of images.")] = 0,
    repair: Annotated[
        str,
        typer.Option(
            help="Before int8: none, cle (equalize channels), bias (correct biases), cle+bias, qat (train with "
            "rounding, no labels needed), cle+qat, cle+bias+qat, auto."
        ),
    ] = "none",
    qat_steps: Annotated[
        int, typer.Option(min=1, max=1_000_000, help="Batches of 32 crops that qat trains on.")
    ] = QAT.steps,
    qat_lr: Annotated[
        float, typer.Option(min=1e-8, max=1, help="First step size of qat, relative to weights.")
    ] = QAT.lr,
    calibration_range: Annotated[
        str,
        typer.Option(
            metavar="RULE", help="Ranges of int8 activations: minmax, percentile:99.99 (of values within), mse."
        ),
    ] = "minmax",
    exclude_layers: Annotated[
        str,
        typer.Option(
            metavar="N|NAMES",
            help="Keep these layers of int8 files in float32: the N that lose most, or names with commas.",
        ),
    ] = "",
    debug_layers: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Compare int8 with float layer by layer: table here, csv, svg, png there."),
    ] = None,
    tolerance: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=COSINE", help="Smallest cosine allowed, e.g. int8=0.9 or onnx-int8=0.8."),
    ] = None,
    name: Annotated[str, typer.Option(help="Name in the bundle. Default: the checkpoint folder's.")] = "",
    licence: Annotated[str, typer.Option(help="Licence of the model, recorded in the bundle.")] = "",
    data_licence: Annotated[str, typer.Option(help="Licence of the training data, recorded.")] = "",
    cache_dir: Annotated[
        Path | None, typer.Option(help="Where built files are kept for the next export. Default: CACHE beside --out.")
    ] = None,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Build everything anew, keep nothing.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the bundle at OUT.")] = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    from export.attempt import Options
    from export.bundle.schema import Licence
    from export.check import parse_tolerances
    from export.pipeline import export_bundle, failed_folder
    from export.show import export_json, print_export, write_layers
    from export.targets import TARGETS

    known = list(dict.fromkeys([*TARGETS, *(row.precision for row in TARGETS.values())]))
    tolerances = parse_tolerances(tolerance or [], known)
    if out.resolve() == checkpoint.resolve():
        raise UsageFailure(f"--out {out}: is the checkpoint itself", "choose another --out")
    check_output_folder(out)
    if debug_layers:
        check_output(debug_layers / "layers.csv")
    options = Options(
        target=target,
        quantize=quantize,
        io=io,
        calibration_data=calibration_data,
        calibration_images=calibration_images,
        seed=seed,
        tolerances=tolerances,
        name=name,
        licence=Licence(model=licence, data=data_licence),
        overwrite=overwrite,
        debug=debug,
        repair=repair,
        calibration_range=calibration_range,
        exclude_layers=exclude_layers,
        qat=QatSettings(steps=qat_steps, lr=qat_lr, seed=seed),
        debug_layers=debug_layers,
        cache_dir=cache_dir,
        use_cache=not no_cache,
    )
    export = export_bundle(checkpoint, out, options)
    if as_json:
        typer.echo(json.dumps(export_json(export), indent=2))
    else:
        print_export(export)
    if debug_layers:
        write_layers(export, debug_layers, quiet=as_json)
    if not export.passed:
        bad = [outcome for outcome in export.outcomes if outcome.problem]
        left = f"; see {failed_folder(out)}" if export.folder else ""
        what = f"{bad[0].target.name} {bad[0].state}: {bad[0].problem}"
        raise Failure(
            f"{len(bad)} of {len(export.outcomes)} variants are not fit for use: {what}{left}",
            CALIBRATE if bad[0].state == "failed" else "leave that variant out",
        )
    note(f"wrote {export.folder}")
    if export.repairable:
        _advise(export.outcomes)


def _advise(outcomes: Sequence[Outcome]) -> None:
    """One line where int8 is coarser than repair usually leaves it."""
    from export.attempt import REPAIR_MEAN_COSINE

    for outcome in outcomes:
        variant = outcome.variant
        if variant is None or variant.check is None or variant.scheme.activations != "int8":
            continue
        if variant.repair == "none" and variant.check.mean_cosine < REPAIR_MEAN_COSINE:
            note(f"{variant.name}: mean cosine {variant.check.mean_cosine:.4f}; --repair auto looks for a better int8")
            return


@app.command()
def inspect(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="Folder of distill-export.")],
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Print all that a bundle says of itself.

    Example:

        distill-export inspect runs/bundle
    """
    from export.bundle.read import load_bundle
    from export.show import print_bundle

    loaded = load_bundle(bundle)
    if as_json:
        typer.echo(loaded.manifest.model_dump_json(indent=2))
    else:
        print_bundle(loaded)


@app.command()
def verify(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="Folder of distill-export.")],
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Check hashes, golden files, operators and golden embeddings on this machine.

    The run extra is enough. Golden files go through this machine's decoder and resize; what comes out
    must be the golden pixels, and these must give the golden embeddings.

    Example:

        distill-export verify runs/bundle
    """
    from export.bundle.golden_files import verify_golden_files
    from export.bundle.verify import verify_bundle
    from export.show import print_file_verdicts, print_verdicts

    verdicts, files = verify_bundle(bundle), verify_golden_files(bundle)
    bad = [verdict for verdict in verdicts if not verdict.passed]
    bad_files = [file for file in files if not file.passed]
    if as_json:
        result = {"variants": [v.as_json() for v in verdicts], "files": [f.as_json() for f in files]}
        typer.echo(json.dumps({"passed": not bad and not bad_files} | result))
    else:
        print_file_verdicts(files)
        print_verdicts(verdicts)
    if bad:
        raise Failure(
            f"{bundle}: {len(bad)} of {len(verdicts)} variants do not do here what they did when exported: "
            f"{bad[0].variant}: {bad[0].problem}",
            "use another variant, or export again",
        )
    if bad_files:
        raise Failure(
            f"{bundle}: pictures do not become here what they became when exported: "
            f"{bad_files[0].file}: {bad_files[0].problem}",
            "compare Pillow's version with that in the bundle, or export again",
        )


def main() -> None:
    """Entry point of ``distill-export``."""
    raise SystemExit(run_app(app))
