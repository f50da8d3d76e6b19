"""A gallery: the embeddings of many images in one memory-mapped file, and the search in it.

Typical use::

    from export.bundle import load_bundle
    from gallery import build_gallery, open_gallery, open_images, open_query_model, query_by_images

    build_gallery(load_bundle("runs/bundle"), open_images("photos"), "photos.gallery")
    gallery = open_gallery("photos.gallery")
    for answer in query_by_images(gallery, open_query_model(gallery), ["holiday.jpg"], k=5):
        print(answer.query, [(found.id, found.cosine) for found in answer.neighbours])

The package needs neither torch nor tensorflow nor faiss. ``docs/gallery.md`` specifies the file byte by byte.
"""

from gallery.build import IndexOptions, IndexReport, build_gallery
from gallery.codes import int8_codes, row_codes, sign_bits
from gallery.format import Content, Gallery, check_gallery, open_gallery, write_gallery
from gallery.images import open_images
from gallery.query import Answer, Neighbour, QueryModel, open_query_model, query_by_images, query_by_rows
from gallery.schema import Header, Model
from gallery.search import Found, search_gallery

__all__ = [
    "Answer",
    "Content",
    "Found",
    "Gallery",
    "Header",
    "IndexOptions",
    "IndexReport",
    "Model",
    "Neighbour",
    "QueryModel",
    "build_gallery",
    "check_gallery",
    "int8_codes",
    "open_gallery",
    "open_images",
    "open_query_model",
    "query_by_images",
    "query_by_rows",
    "row_codes",
    "search_gallery",
    "sign_bits",
    "write_gallery",
]
