"""One image file of each kind that docs/preprocessing.md mentions."""

from __future__ import annotations

import io

import numpy as np
import PIL.Image

__all__ = ["EXACT", "JPEGS", "kinds"]

# Decoders agree bit for bit on these, and nearly on JPEGs (docs/preprocessing.md).
EXACT = (
    "rgb.png",
    "rgba.png",
    "grey.png",
    "grey16.png",
    "grey1.png",
    "grey-alpha.png",
    "palette.png",
    "palette-clear.png",
    "turned.png",
    "rgb.bmp",
)
JPEGS = ("plain.jpg", "progressive.jpg", "grey.jpg", "full-chroma.jpg", "turned.jpg", "mirrored.jpg", "cmyk.jpg")


def kinds(width: int = 83, height: int = 61) -> dict[str, bytes]:
    """Return content by file name: a smooth image, so that JPEG losses stay small."""
    y, x = np.mgrid[0:height, 0:width] / 60
    channels = [127 + 120 * np.sin(3 * x + 2 * y), 127 + 120 * np.cos(2 * x - y), 127 + 120 * np.sin(x * y * 4)]
    rgb = PIL.Image.fromarray(np.stack(channels, axis=-1).astype(np.uint8))
    grey = rgb.convert("L")
    alpha = PIL.Image.fromarray((255 * np.abs(np.sin(x + y))).astype(np.uint8))
    rgba, grey_alpha = rgb.copy(), grey.copy()
    rgba.putalpha(alpha)
    grey_alpha.putalpha(alpha)
    deep = PIL.Image.fromarray((np.asarray(grey, np.uint16) << 8) + 77)
    palette = rgb.quantize(64)

    def file(image: PIL.Image.Image, form: str, orientation: int = 1, **options) -> bytes:
        if orientation != 1:
            exif = PIL.Image.Exif()
            exif[0x0112] = orientation
            options["exif"] = exif
        buffer = io.BytesIO()
        image.save(buffer, form, **options)
        return buffer.getvalue()

    return {
        "rgb.png": file(rgb, "PNG"), "rgba.png": file(rgba, "PNG"), "grey.png": file(grey, "PNG"), "grey16.png": file(deep, "PNG"),
        "grey1.png": file(grey.convert("1"), "PNG"), "grey-alpha.png": file(grey_alpha, "PNG"), "palette.png": file(palette, "PNG"),
        "palette-clear.png": file(palette, "PNG", transparency=3), "turned.png": file(rgb, "PNG", 6), "rgb.bmp": file(rgb, "BMP"),
        "plain.jpg": file(rgb, "JPEG", quality=95), "progressive.jpg": file(rgb, "JPEG", quality=95, progressive=True),
        "grey.jpg": file(grey, "JPEG", quality=95), "full-chroma.jpg": file(rgb, "JPEG", quality=95, subsampling=0),
        "turned.jpg": file(rgb, "JPEG", 8, quality=95), "mirrored.jpg": file(rgb, "JPEG", 5, quality=95),
        "cmyk.jpg": file(rgb.convert("CMYK"), "JPEG", quality=95),
        "lossless.webp": file(rgb, "WEBP", lossless=True),
    }  # fmt: skip
