"""HTML pages: one self-contained file each, without scripts or network access, in a common style."""

from distill.page.frame import data_uri, page, write_page

__all__ = ["data_uri", "page", "write_page"]
