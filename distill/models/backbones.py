"""Names of backbones and how each is built."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from torch import nn

from distill.console import Failure, UsageFailure, note, suggest
from distill.files import sha256_file
from distill.models.backbone import Backbone
from distill.models.foreign_weights import adopt
from distill.models.mobilenet_v1 import MobileNetV1
from distill.models.weights_file import load_matching, read_state_dict, strip_prefixes

__all__ = ["ARCHITECTURES", "Backbone", "build_backbone"]

IMAGENET = "imagenet"
TIMM = "timm:"
KERAS_URL = "https://storage.googleapis.com/tensorflow/keras-applications/mobilenet/mobilenet_{}_224_tf_no_top.h5"
KERAS_ALPHAS = {0.25: "2_5", 0.5: "5_0", 0.75: "7_5", 1.0: "1_0"}


def _timm(name: str, arch: str, pretrained: bool) -> Backbone:
    # timm takes a second to import, and our own networks do without it.
    from distill.models.timm_backbone import TimmBackbone

    return TimmBackbone(name, pretrained=pretrained, arch=arch)


def _mobilenet_v1(alpha: float, arch: str, pretrained: bool, patch: bool = False) -> Backbone:
    model = MobileNetV1(alpha, arch=arch, patch=patch)
    if pretrained:
        _load_file(model, _keras_imagenet(alpha))
    return model


# name -> (arch, pretrained) -> backbone
ARCHITECTURES: dict[str, Callable[[str, bool], Backbone]] = {
    "mobilenet_v1_025": partial(_mobilenet_v1, 0.25),
    "mobilenet_v1_025_patch": partial(_mobilenet_v1, 0.25, patch=True),
    "mobilenet_v1_050": partial(_mobilenet_v1, 0.50),
    "mobilenet_v1_075": partial(_mobilenet_v1, 0.75),
    "mobilenet_v1_100": partial(_mobilenet_v1, 1.0),
    "resnet18": partial(_timm, "resnet18"),
    "resnet34": partial(_timm, "resnet34"),
    "resnet50": partial(_timm, "resnet50"),
    "resnet101": partial(_timm, "resnet101"),
}


def build_backbone(arch: str, weights: str | Path | None = None) -> Backbone:
    """Build a backbone.

    Args:
        arch: a name of ``ARCHITECTURES`` or ``timm:NAME`` (any network of the timm library).
        weights: ``None`` (random), ``"imagenet"`` (downloaded: timm's or Keras' own), or a file:
            .safetensors, .pth, .pt, for MobileNetV1 also Keras' .h5. Names and shapes have to fit,
            the classifier is ignored; ``_patch`` networks also take weights of the whole network; see
            ``foreign_weights`` for other packages' names.

    Returns:
        The backbone in training mode. ``backbone.weights`` records where the weights come from;
        ``mean`` and ``std`` are those of the weights.

    Raises:
        UsageFailure: unknown name or kind of file.
        Failure: weights that are missing, damaged, of another network, or cannot be downloaded.
    """
    pretrained = str(weights) == IMAGENET
    if arch in ARCHITECTURES:
        backbone = ARCHITECTURES[arch](arch, pretrained)
    elif arch.startswith(TIMM) and len(arch) > len(TIMM):
        backbone = _timm(arch.removeprefix(TIMM), arch, pretrained)
    else:
        raise UsageFailure(f"unknown architecture '{arch}'", suggest(arch, [*ARCHITECTURES, "timm:NAME"]))
    if pretrained:
        backbone.weights.setdefault("source", IMAGENET)
    elif weights is not None:
        _load_file(backbone, Path(weights))
    return backbone


def _load_file(backbone: Backbone, path: Path) -> None:
    network: nn.Module = getattr(backbone, "net", backbone)
    # Weights of the whole network serve the one with a patch stem.
    whole = MobileNetV1(backbone.alpha) if isinstance(backbone, MobileNetV1) and backbone.patch else None
    layout = "own names"
    if path.suffix.lower() in (".h5", ".hdf5"):
        if not isinstance(backbone, MobileNetV1):
            raise UsageFailure(f"{path}: Keras weights are read for mobilenet_v1_* only", "give .safetensors or .pth")
        from distill.models.keras_weights import keras_state_dict

        network = whole or network
        state = keras_state_dict(path, network)
        layout = "Keras MobileNet"
    else:
        wanted = network.state_dict()
        state = strip_prefixes(read_state_dict(path), wanted)
        if not isinstance(backbone, MobileNetV1):
            state, foreign = adopt(state, backbone.timm_name, wanted, str(path))
            if foreign is not None:
                layout = foreign.name
                backbone.mean, backbone.std = foreign.mean, foreign.std
        elif (
            whole is not None
            and "stem.weight" in state
            and state["stem.weight"].shape[1:] == whole.stem.weight.shape[1:]
        ):
            network = whole  # by the stem's window: a head of its own, or another width, makes no whole network
    load_matching(network, state, str(path))
    if network is whole:
        from distill.models.patch_stem import start_from_whole

        start_from_whole(backbone, whole)
        layout += ", first layers fitted"
    backbone.weights = {"source": path.name, "sha256": sha256_file(path), "layout": layout}


def _keras_imagenet(alpha: float) -> Path:
    import torch

    url = KERAS_URL.format(KERAS_ALPHAS[alpha])
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[1]
    if not path.exists():
        note(f"downloading {url}")
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(url, str(path), progress=False)
        except OSError as error:
            raise Failure(
                f"{url}: cannot be downloaded: {error}", "get the file elsewhere and give --weights FILE.h5"
            ) from None
    return path
