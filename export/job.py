"""Shared inputs and intermediate results of target builders, and the facts that each reports about its file."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.console import Failure, note
from export.bundle.schema import InputSpec, Operator, OutputSpec
from export.int8.ranges import MINMAX, RangeRule
from export.int8.sensitivity import Exclusion, chosen_layers

if TYPE_CHECKING:
    import onnx

    from distill.data.preprocess import Preprocessing
    from distill.models.embedder import Embedder
    from export.cache import BuildCache
    from export.graph.folded import FoldedGraph
    from export.int8.repair.settings import QatSettings, Repaired
    from export.int8.training_images import TrainingImages
    from export.samples.calibration import CalibrationImages

__all__ = ["BuiltFile", "Job"]


@dataclass(frozen=True)
class Job:
    """Inputs of the builders. Results that several builders share are computed once, on first use.

    Attributes:
        model: the PyTorch network, in evaluation mode.
        preprocessing: of the model.
        calibration: calibration images; ``None`` if no target needs them.
        scratch: folder for temporary files.
        debug: show the messages of converters.
        cache: files of earlier exports.
        training: images for the repairs that train.
        qat: settings of quantization-aware training.
        rule: how the ranges of int8 activations are chosen.
        exclusion: layers that stay in float32.
    """

    model: Embedder
    preprocessing: Preprocessing
    calibration: CalibrationImages | None
    scratch: Path
    debug: bool = False
    cache: BuildCache | None = None
    training: TrainingImages | None = None
    qat: QatSettings | None = None
    rule: RangeRule = MINMAX
    exclusion: Exclusion = Exclusion()

    @property
    def images(self) -> CalibrationImages:
        """The calibration images.

        Raises:
            Failure: there are none.
        """
        if not self.calibration:
            raise Failure("int8 needs calibration images", "give --calibration-data")
        return self.calibration

    @cached_property
    def foldable(self) -> bool:
        """Whether ``graph`` exists for this network."""
        from export.graph.fold import can_fold

        return can_fold(self.model)

    @cached_property
    def graph(self) -> FoldedGraph:
        """The folded network.

        Raises:
            Failure: this network cannot be folded.
        """
        from export.graph.fold import fold

        return fold(self.model, self.preprocessing.input_size)

    def repaired(self, method: str) -> Repaired:
        """Return the folded network, prepared for integers by one method of ``--repair``.

        Raises:
            Failure: no calibration images, or this network cannot be folded.
        """
        from export.int8.repair.methods import repair

        if method not in self._repaired:
            self._repaired[method] = repair(self.graph, method, self.images, self.training, self.qat)
        return self._repaired[method]

    def in_float(self, repaired: Repaired) -> tuple[str, ...]:
        """Return the names of the layers of ``repaired`` that stay float32.

        Raises:
            UsageFailure: ``exclusion`` names a layer that does not exist.
            Failure: layers were excluded from a network that was trained as a whole.
        """
        if not self.exclusion:
            return ()
        if repaired.numbers:
            raise Failure(
                "--exclude-layers: qat trains all layers for int8",
                "choose another --repair, or leave out --exclude-layers",
            )
        if repaired.method not in self._in_float:
            names = chosen_layers(self.exclusion, repaired.exact, self.images.scaled())
            note(f"in float: {', '.join(names)}")
            self._in_float[repaired.method] = names
        return self._in_float[repaired.method]

    @cached_property
    def unfolded_tflite(self) -> bytes:
        """A float32 TFLite file of any network, without its L2 norm, by litert-torch.

        Raises:
            Failure: the extra ``generic`` is not installed, or the converter failed.
        """
        from export.formats.tflite.generic import convert_module

        return convert_module(self.model, self.preprocessing.input_size, self.debug)

    @cached_property
    def onnx_float32(self) -> tuple[onnx.ModelProto, str]:
        """The float32 ONNX model, checked, and the producer to record."""
        from importlib.metadata import version

        import onnx

        from export.formats.onnx.convert import graph_to_onnx, module_to_onnx

        if self.foldable:
            model, producer = graph_to_onnx(self.graph), f"folded graph, onnx {onnx.__version__}"
        else:
            side = self.preprocessing.input_size
            model, producer = module_to_onnx(self.model, side, self.debug), f"torch.onnx, torch {version('torch')}"
        onnx.checker.check_model(model, full_check=True)
        return model, producer

    @cached_property
    def _repaired(self) -> dict[str, Repaired]:
        return {}

    @cached_property
    def _in_float(self) -> dict[str, tuple[str, ...]]:
        return {}


@dataclass(frozen=True)
class BuiltFile:
    """What a builder reports about the file it wrote. The fields become those of the bundle's ``Variant``."""

    input: InputSpec
    output: OutputSpec
    operators: tuple[Operator, ...]
    producer: str
    calibration_range: str = ""
    in_float: tuple[str, ...] = ()
    recipe: tuple[dict[str, Any], ...] = ()
