"""Shared command-line behaviour: one-line errors, ``--debug``, default commands."""

from __future__ import annotations

import difflib
import errno
import os
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from distill.console.errors import Failure, UsageFailure, suggest
from distill.console.progress import console

__all__ = ["AppGroup", "DebugOption", "JsonOption", "make_app", "run_app"]

INTERRUPTED = 130  # the exit code that shells expect after Ctrl-C
_NEAR = 0.7  # similarity above which a word counts as a mistyped command
_CURES = {
    errno.ENOSPC: "free some space, or choose another place",
    errno.EDQUOT: "free some space, or choose another place",
    errno.EACCES: "check its permissions, or choose another place",
    errno.EPERM: "check its permissions, or choose another place",
    errno.EROFS: "choose a place that can be written to",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EMFILE: "raise the limit on open files: ulimit -n 4096",
}

_debug = False


def _set_debug(value: bool) -> bool:
    global _debug
    _debug = _debug or value
    return value


DebugOption = Annotated[
    bool,
    typer.Option(
        "--debug",
        "-v",
        callback=_set_debug,
        is_eager=True,
        help="Show tracebacks and messages of libraries.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]


class AppGroup(TyperGroup):
    """A group whose ``default_command`` runs if the first word is not a command.

    It allows both ``distill-export RUN`` and ``distill-export inspect BUNDLE``.
    """

    default_command: str | None = None

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        first = args[0] if args else ""
        known = first in self.commands or first in ("--help", "-h")
        is_word = bool(first) and first[0] != "-" and not known and not os.path.lexists(first)
        # A mistyped command would become an argument of the default command, whose error would mislead.
        if self.default_command and is_word and difflib.get_close_matches(first, self.commands, n=1, cutoff=_NEAR):
            raise UsageFailure(f"{first}: no such command, file or folder", suggest(first, self.commands))
        if self.default_command and args and not known:
            args = [self.default_command, *args]
        return super().parse_args(ctx, args)


def make_app(help_text: str, default_command: str | None = None) -> typer.Typer:
    """Create a typer application with the shared settings.

    Args:
        help_text: Text of ``--help``; include examples.
        default_command: Command to run if the first argument is not a command.
    """
    group = type("Group", (AppGroup,), {"default_command": default_command})
    if default_command:
        help_text = f"{help_text.rstrip()}\n\n    All options: `{default_command} --help`."
    return typer.Typer(
        cls=group,
        help=help_text,
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode="markdown",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def run_app(app: typer.Typer, args: list[str] | None = None) -> int:
    """Run ``app`` and turn exceptions into one line and an exit code.

    Returns:
        0: success; 1: failure; 2: wrong usage; 130: interrupted.
    """
    global _debug
    _debug = False
    try:
        result = app(args=args, standalone_mode=False)
        if result == INTERRUPTED:
            raise KeyboardInterrupt
        return result if isinstance(result, int) else 0
    except typer.Exit as stop:
        return stop.exit_code
    except typer.TyperException as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            return error.exit_code  # the help has been printed
        context = getattr(error, "ctx", None)
        see = f" (see {context.command_path} --help)" if context else ""
        console.print(f"error: {error.format_message()}{see}", style="red", markup=False, soft_wrap=True)
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        console.print("interrupted: run the same command again to continue", style="yellow")
        return INTERRUPTED
    except Failure as failure:
        if _debug:
            console.print_exception()
        console.print(f"error: {failure}", style="red", markup=False, soft_wrap=True)
        return failure.exit_code
    except OSError as error:
        if _debug:
            console.print_exception()
        where = f"{error.filename}: " if error.filename else ""
        cure = _CURES.get(error.errno or 0, "check the path" if error.filename else "")
        text = f"{where}{error.strerror or error}{f' ({cure})' if cure else ''}"
        console.print(f"error: {text}", style="red", markup=False, soft_wrap=True)
        return 1
    except Exception as error:
        if _debug:
            raise
        console.print(
            f"error: {type(error).__name__}: {error} (unexpected: run again with --debug and report it)",
            style="red",
            markup=False,
            soft_wrap=True,
        )
        return 1
