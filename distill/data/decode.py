"""Encoded bytes or a file to an upright 8-bit RGB picture, whatever the file is."""

from __future__ import annotations

import contextlib
import io
import warnings
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageOps

from distill.data.imageset import UnreadableImage

__all__ = ["FORMATS", "decode"]

# Only these decoders are offered the file: Pillow knows dozens, some of which start programs.
# MPO, which many phones write under the name .jpg, is opened by the JPEG decoder and registers no own one.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP")

# Longer : shorter side. Beyond it a resize of the shorter side makes a strip that fills the memory.
MAX_ELONGATION = 64


def decode(source: Path | bytes, key: str) -> PIL.Image.Image:
    """Decode a picture to 8-bit RGB.

    The EXIF orientation is applied; transparent pixels are laid over white; 16-bit grey is reduced
    to its high byte; CMYK and palettes are converted by Pillow. JPEGs are decoded whole by libjpeg,
    never at reduced scale, so that the pixels do not depend on what they are used for.

    Args:
        source: a file, or its content.
        key: the name used in errors.

    Raises:
        UnreadableImage: missing, empty, truncated, not a picture of a known format, above
            ``PIL.Image.MAX_IMAGE_PIXELS`` × 2, where Pillow suspects a decompression bomb, or
            more than 64 times as long as wide.
    """
    try:
        if isinstance(source, bytes):
            return _decode(io.BytesIO(source))
        with open(source, "rb") as file:
            return _decode(file)
    except PIL.Image.DecompressionBombError:
        reason = "more pixels than can be decoded safely"
    except PIL.UnidentifiedImageError:
        reason = "not a JPEG, PNG, WebP or BMP picture"
    except OSError as error:
        reason = error.strerror or str(error)
    except ValueError as error:
        reason = str(error)
    except MemoryError:
        reason = "too large for the memory"
    except Exception as error:  # a hostile file can raise nearly anything in a decoder
        reason = f"{type(error).__name__}: {error}"
    raise UnreadableImage(key, reason)


def _decode(file: io.BufferedIOBase) -> PIL.Image.Image:
    image = PIL.Image.open(file, formats=FORMATS)
    if max(image.size) > MAX_ELONGATION * min(image.size):
        raise ValueError(f"{image.width} × {image.height} pixels is a strip, not a picture")
    image.load()
    with contextlib.suppress(Exception):  # a damaged EXIF block says nothing against the pixels
        PIL.ImageOps.exif_transpose(image, in_place=True)
    return _to_rgb(image)


def _to_rgb(image: PIL.Image.Image) -> PIL.Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I"):
        # Pillow's own conversion clips 16-bit values at 255: a white picture.
        grey = np.asarray(image).astype(np.int64)
        image = PIL.Image.fromarray((np.clip(grey, 0, 65535) >> 8).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        layer = image.convert("RGBA")
        ground = PIL.Image.new("RGBA", layer.size, (255, 255, 255, 255))
        return PIL.Image.alpha_composite(ground, layer).convert("RGB")
    return image.convert("RGB")


# Between one and two times its limit Pillow only warns; such photographs exist and are read. Damaged
# metadata is no news either: the pixels are what counts.
warnings.filterwarnings("ignore", category=PIL.Image.DecompressionBombWarning)
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
