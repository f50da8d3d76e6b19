"""``distill-export``: turn a checkpoint into a bundle, and look into bundles."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from distill.console import (
    AppCommand,
    DebugOption,
    Failure,
    JsonOption,
    JsonOutOption,
    UsageFailure,
    answer,
    make_app,
    note,
    run_app,
)
from distill.files import check_output, check_output_folder
from distill.options import RecipeOption, make_options, open_recipe, with_flags
from export.options import ExportOptions

if TYPE_CHECKING:
    from export.attempt import TargetResult

__all__ = ["app", "main"]

HELP = """
Turn a checkpoint into a **bundle**: a folder with model files for a phone and everything that an app
needs to use them (docs/bundle.md).

Examples:

    distill-export runs/student --out runs/bundle

    distill-export runs/student --target tflite --quantize int8 --calibration-data folder:photos --out b

    distill-export inspect runs/bundle

    distill-export verify runs/bundle
"""
RUN_HELP = """
Export a checkpoint and check every file against PyTorch.

Every variant is compared with PyTorch on images that were not used for calibration. If one is out
of tolerance, the command ends with exit code 1, OUT is left untouched, and the files go to
OUT.failed for inspection.

Which options to choose (measured with scripts/benchmarks/export_latency.py on x86-64 with VNNI and AMX, one
thread, MobileNet-0.25 at 224 pixels; other processors rank differently: measure on yours, with distill-bench):

- **--repair auto**, the default, takes the first of none, cle, bias and cle+bias that is good enough: seconds for each. On
  birds cle+bias took Recall@1 from 1.0 points below PyTorch to 0.1 (docs/quantization.md); size and speed of
  the file stay the same. **none** builds plain int8.
- **--repair qat** trains the rounded network against its own float embeddings: no labels, a minute or two.
  It works best after the others: **cle+bias+qat**. auto does so only if every other file is out of tolerance.
- **--io** chooses the input and output type of an int8 file. int8 costs nothing: with mean = std = 128 the
  input is pixel - 128. MediaPipe and the TFLite Task Library refuse it; they accept float32 (1.06
  times int8's time) or uint8 (one more QUANTIZE operator at each end: 1.12 times).
- Dynamic-range quantization is not offered: it took 1.2 times float32's time and rounds the weights just as much.
- **--exclude-layers 1** keeps the layer that int8 hurts most in float; **--calibration-range** clips outliers
  of the activations (docs/quantization.md).
- Folded networks (`mobilenet_v1_*`, `timm:mobilenetv2_*` and timm's `*efficientnet_lite*`) have all of these options.
  Other networks go to TFLite (none, int8) with the extra generic, without repair and --exclude-layers.

Examples:

    distill-export runs/student --out runs/bundle

    distill-export runs/student --target all --quantize all --out runs/bundle --overwrite

    distill-export runs/student --target tflite --quantize none,int8 --calibration-images 500 --out b

    distill-export runs/student --quantize int8 --tolerance int8=0.8 --out b

    distill-export runs/student --quantize int8 --debug-layers runs/layers --out b

    distill-export runs/student --quantize int8 --repair cle+bias+qat --qat-steps 300 --out b

    distill-export runs/student --target tflite --quantize int8 --io int8,float32 --out b
"""

CALIBRATE = "calibrate with more images of the kind the app will see, widen --tolerance, or leave it out"

app = make_app(HELP, default_command="run", program="distill-export")


class _RunCommand(AppCommand):
    """Completes the help with what the registries of formats, targets and repairs know, when it is asked for."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        from export.option_help import option_help, schemes_help

        helps = option_help()
        for parameter in self.params:
            if parameter.name in helps:
                parameter.help = helps[parameter.name]  # type: ignore[attr-defined]
        text, examples, rest = RUN_HELP.partition("Examples:")
        self.help = f"{text}Schemes:\n\n{schemes_help()}\n\n{examples}{rest}"
        super().format_help(ctx, formatter)


@app.command(help=RUN_HELP, cls=_RunCommand)
@with_flags(ExportOptions)
def run(
    checkpoint: Annotated[Path, typer.Argument(metavar="DIR", help="Checkpoint folder of distill-train.")],
    out: Annotated[Path, typer.Option("--out", metavar="BUNDLE", help="Folder to write.")],
    given: dict[str, Any],
    recipe: RecipeOption = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the bundle at OUT.")] = False,
    as_json: JsonOption = False,
    json_out: JsonOutOption = None,
    debug: DebugOption = False,
) -> None:
    from export.pipeline import export_bundle, failed_folder
    from export.show import export_json, print_export, write_layers

    found = open_recipe(recipe, ExportOptions)
    options = make_options(ExportOptions, given, found, overwrite=overwrite, debug=debug)
    if out.resolve() == checkpoint.resolve():
        raise UsageFailure(f"--out {out}: is the checkpoint folder", "choose another --out")
    check_output_folder(out)
    check_output(json_out, [checkpoint, out])
    if options.debug_layers:
        check_output(options.debug_layers / "layers.csv")
    export = export_bundle(checkpoint, out, options)
    answer(export_json(export), lambda: print_export(export), as_json, json_out, indent=2)
    if options.debug_layers:
        write_layers(export, options.debug_layers, quiet=as_json)
    if not export.passed:
        bad = [result for result in export.results if result.problem]
        left = f"; see {failed_folder(out)}" if export.folder else ""
        what = f"{bad[0].target.name} {bad[0].state}: {bad[0].problem}"
        raise Failure(
            f"{len(bad)} of {len(export.results)} variants are not fit for use: {what}{left}",
            CALIBRATE if bad[0].state == "failed" else "leave that variant out",
        )
    note(f"wrote {export.folder}")
    if export.repairable:
        _advise(export.results, options.repair)


def _advise(results: Sequence[TargetResult], repair: str) -> None:
    """Recommend the next step if int8 lost more than it usually does after a repair."""
    from export.attempt import REPAIR_MEAN_COSINE
    from export.int8.repair.methods import AUTO, METHODS

    cures = {
        "none": "--repair auto looks for a better int8",
        AUTO: "--repair cle+bias+qat may find a better int8: it trains for a minute or two",
    }
    for result in results:
        variant = result.variant
        if variant is None or variant.check is None or not result.target.trainable or METHODS[variant.repair].trained:
            continue
        if repair in cures and variant.check.mean_cosine < REPAIR_MEAN_COSINE:
            note(f"{variant.name}: mean cosine {variant.check.mean_cosine:.4f}; {cures[repair]}")
            return


@app.command()
def inspect(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="Folder of distill-export.")],
    as_json: JsonOption = False,
    json_out: JsonOutOption = None,
    debug: DebugOption = False,
) -> None:
    """Print the content of a bundle's description.

    Example:

        distill-export inspect runs/bundle
    """
    from export.bundle.read import load_bundle
    from export.show import print_bundle

    check_output(json_out, [bundle])
    loaded = load_bundle(bundle)
    answer(loaded.manifest.model_dump(mode="json"), lambda: print_bundle(loaded), as_json, json_out, indent=2)


@app.command()
def verify(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="Folder of distill-export.")],
    as_json: JsonOption = False,
    json_out: JsonOutOption = None,
    debug: DebugOption = False,
) -> None:
    """Check hashes, golden files, input tensors, operators and golden embeddings on this machine.

    The run extra is enough. This machine decodes and resizes the golden files: the result must be the golden
    pixels. These must give exactly the input tensors of the export, and the golden embeddings.

    Example:

        distill-export verify runs/bundle
    """
    from export.bundle.golden_files import verify_golden_files
    from export.bundle.verify import verify_bundle
    from export.show import print_checks

    check_output(json_out, [bundle])
    checks, files = verify_bundle(bundle), verify_golden_files(bundle)
    bad = [check for check in checks if not check.passed]
    bad_files = [file for file in files if not file.passed]
    value = {
        "passed": not bad and not bad_files,
        "variants": [check.as_json() for check in checks],
        "files": [file.as_json() for file in files],
    }
    answer(value, lambda: print_checks(files, checks), as_json, json_out)
    # The first step that deviates: later ones may deviate because of it.
    if bad_files:
        raise Failure(
            f"{bundle}: images give other pixels here than when it was exported: "
            f"{bad_files[0].file}: {bad_files[0].problem}",
            bad_files[0].cure,
        )
    if bad:
        raise Failure(
            f"{bundle}: {len(bad)} of {len(checks)} variants give other results here than when they were exported: "
            f"{bad[0].variant}: {bad[0].problem}",
            bad[0].cure,
        )
    if unhashed := [check.variant for check in checks if check.same_inputs is None]:
        note(
            f"{bundle}: no hashes of the input tensors of {', '.join(unhashed)}: only the cosine was checked, which can "
            "pass swapped channels (export again to have inputs checked exactly)"
        )


def main() -> None:
    """Entry point of ``distill-export``."""
    raise SystemExit(run_app(app))
