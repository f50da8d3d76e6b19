"""What the builders of all targets share, and what each says of its file."""

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

__all__ = ["Built", "Job"]


@dataclass
class Job:
    """What builders draw on. What several share is made once, when the first of them asks."""

    model: Embedder
    preprocessing: Preprocessing
    calibration: CalibrationImages | None
    scratch: Path
    debug: bool = False
    repair: str = "none"
    cache: BuildCache | None = None
    training: TrainingImages | None = None  # for the repairs that train
    qat: QatSettings | None = None
    rule: RangeRule = MINMAX
    exclusion: Exclusion = Exclusion()

    @cached_property
    def graph(self) -> FoldedGraph:
        """The folded network.

        Raises:
            Failure: an architecture that has no folded route.
        """
        from export.graph.fold import fold

        return fold(self.model, self.preprocessing.input_size)

    @cached_property
    def _repaired(self) -> dict[str, Repaired]:
        return {}

    def repaired(self) -> Repaired:
        """The folded network, made ready for int8 by the method ``self.repair``.

        Raises:
            Failure: no calibration images, or an architecture that has no folded route.
        """
        from export.int8.repair.methods import repair

        if not self.calibration:
            raise Failure("int8 needs calibration images", "give --calibration-data")
        if self.repair not in self._repaired:
            self._repaired[self.repair] = repair(self.graph, self.repair, self.calibration, self.training, self.qat)
        return self._repaired[self.repair]

    @cached_property
    def unfolded_tflite(self) -> bytes:
        """The float32 TFLite file of any network, without its norm, by litert-torch.

        Raises:
            Failure: the extra ``generic`` is not installed, or the converter gave up.
        """
        from export.formats.tflite.generic import convert_module

        return convert_module(self.model, self.preprocessing.input_size, self.debug)

    @cached_property
    def _in_float(self) -> dict[str, tuple[str, ...]]:
        return {}

    def in_float(self) -> tuple[str, ...]:
        """Layers of the repaired network that stay float32, by name.

        Raises:
            UsageFailure: ``exclusion`` names a layer that does not exist.
            Failure: layers were to be left out of a network that was trained as a whole.
        """
        if not self.exclusion:
            return ()
        if self.repaired().numbers:
            raise Failure("--exclude-layers: qat trains all layers for int8", "take another --repair, or no exclusion")
        if self.repair not in self._in_float:
            names = chosen_layers(self.exclusion, self.repaired().exact, self.calibration.scaled())
            note(f"in float: {', '.join(names)}")
            self._in_float[self.repair] = names
        return self._in_float[self.repair]

    @cached_property
    def onnx_float32(self) -> tuple[onnx.ModelProto, str]:
        """The float32 ONNX model, checked, and who made it."""
        from importlib.metadata import version

        import onnx

        from export.formats.onnx.convert import graph_to_onnx, module_to_onnx
        from export.graph.fold import can_fold

        if can_fold(self.model):
            model, maker = graph_to_onnx(self.graph), f"folded graph, onnx {onnx.__version__}"
        else:
            side = self.preprocessing.input_size
            model, maker = module_to_onnx(self.model, side, self.debug), f"torch.onnx, torch {version('torch')}"
        onnx.checker.check_model(model, full_check=True)
        return model, maker


@dataclass(frozen=True)
class Built:
    """What a builder says of the file it wrote."""

    input: InputSpec
    output: OutputSpec
    operators: tuple[Operator, ...]
    producer: str
    calibration_range: str = ""
    in_float: tuple[str, ...] = ()
    recipe: tuple[dict[str, Any], ...] = ()
