"""Pages for people: one HTML file each that needs no network and runs no script, in the house look."""

from distill.page.frame import data_uri, page, write_page

__all__ = ["data_uri", "page", "write_page"]
