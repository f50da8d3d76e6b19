"""A gallery: the embeddings of many pictures in one file that can be mapped, and the search in it.

Nothing here needs torch, tensorflow or faiss. ``docs/gallery.md`` describes the file to the byte.
"""

from gallery.codes import int8_codes, row_codes, sign_bits
from gallery.format import Content, Gallery, check_gallery, open_gallery, write_gallery
from gallery.schema import Header, Model

__all__ = [
    "Content",
    "Gallery",
    "Header",
    "Model",
    "check_gallery",
    "int8_codes",
    "open_gallery",
    "row_codes",
    "sign_bits",
    "write_gallery",
]
