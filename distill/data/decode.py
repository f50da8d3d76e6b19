"""Decode a file or bytes to an upright 8-bit RGB image."""

from __future__ import annotations

import contextlib
import io
import warnings
from pathlib import Path
from typing import BinaryIO

import numpy as np
import PIL.Image
import PIL.ImageOps

from distill.data.imageset import UnreadableImage

__all__ = ["FORMATS", "decode"]

# Only these decoders may open the file: Pillow has dozens, some of which start programs.
# MPO, which many phones write under the name .jpg, is opened by the JPEG decoder.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP")

# Longer side / shorter side. Above it, resizing the shorter side makes a strip that fills the memory.
MAX_ELONGATION = 64


def decode(source: Path | bytes, key: str) -> PIL.Image.Image:
    """Decode an image to 8-bit RGB.

    The EXIF orientation is applied; transparent pixels are composited over white; 16-bit grey is reduced
    to its high byte; CMYK and palettes are converted by Pillow. JPEGs are decoded whole by libjpeg,
    never at reduced scale, so that the pixels do not depend on the size that is needed.

    Args:
        source: A file, or its content.
        key: Name for errors.

    Raises:
        UnreadableImage: missing, empty, truncated, not an image of a known format, larger than
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
        reason = "not a JPEG, PNG, WebP or BMP image"
    except OSError as error:
        reason = error.strerror or str(error)
    except ValueError as error:
        reason = str(error)
    except MemoryError:
        reason = "does not fit in memory"
    except Exception as error:  # a hostile file can raise nearly anything in a decoder
        reason = f"{type(error).__name__}: {error}"
    raise UnreadableImage(key, reason)


def _decode(file: BinaryIO) -> PIL.Image.Image:
    image = PIL.Image.open(file, formats=FORMATS)
    if max(image.size) > MAX_ELONGATION * min(image.size):
        raise ValueError(f"{image.width} × {image.height} pixels is a strip, not an image")
    image.load()
    with contextlib.suppress(Exception):  # the pixels may be intact despite a damaged EXIF block
        PIL.ImageOps.exif_transpose(image, in_place=True)
    return _to_rgb(image)


def _to_rgb(image: PIL.Image.Image) -> PIL.Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I"):
        # Pillow's own conversion clips 16-bit values at 255, which makes the image white.
        grey = np.asarray(image).astype(np.int64)
        image = PIL.Image.fromarray((np.clip(grey, 0, 65535) >> 8).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        layer = image.convert("RGBA")
        ground = PIL.Image.new("RGBA", layer.size, (255, 255, 255, 255))
        return PIL.Image.alpha_composite(ground, layer).convert("RGB")
    return image.convert("RGB")


# Between one and two times its limit Pillow only warns; such images exist and are read. Damaged
# metadata does not matter either: only the pixels are used.
warnings.filterwarnings("ignore", category=PIL.Image.DecompressionBombWarning)
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
