"""Errors, progress bars, options and help shared by all commands."""

from distill.console.app import AppGroup, DebugOption, JsonOption, make_app, run_app
from distill.console.errors import Failure, UsageFailure, suggest
from distill.console.progress import console, note, progress, warn

__all__ = [
    "AppGroup",
    "DebugOption",
    "Failure",
    "JsonOption",
    "UsageFailure",
    "console",
    "make_app",
    "note",
    "progress",
    "run_app",
    "suggest",
    "warn",
]
