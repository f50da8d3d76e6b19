"""Errors, progress bars, options and help shared by all commands."""

from distill.console.app import AppCommand, AppGroup, DebugOption, make_app, run_app
from distill.console.errors import Failure, UsageFailure, suggest
from distill.console.output import JsonOption, JsonOutOption, answer, plain_table, result_console
from distill.console.progress import console, note, progress, still_progress, warn

__all__ = [
    "AppCommand",
    "AppGroup",
    "DebugOption",
    "Failure",
    "JsonOption",
    "JsonOutOption",
    "UsageFailure",
    "answer",
    "console",
    "make_app",
    "note",
    "plain_table",
    "progress",
    "result_console",
    "run_app",
    "still_progress",
    "suggest",
    "warn",
]
