"""Kinds of teachers, one file each; ``registry`` lists them."""
