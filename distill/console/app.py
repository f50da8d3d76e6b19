"""Shared command-line behaviour: one-line errors, ``--debug``, ``--version``, completion, default commands."""

from __future__ import annotations

import difflib
import errno
import os
import re
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from distill.console.errors import Failure, UsageFailure, suggest
from distill.console.progress import console

__all__ = ["AppCommand", "AppGroup", "DebugOption", "make_app", "run_app"]

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


def _print_version(context: typer.Context, value: bool = True) -> None:
    if value:
        from importlib.metadata import version

        print(f"{context.find_root().info_name} {version('distill-to-phone')}")
        raise typer.Exit


VersionOption = Annotated[
    bool,
    typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version and exit."),
]


class AppCommand(TyperCommand):
    """A command that knows ``--version`` too, and whose help fits 80 columns."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        parents = ctx.find_root().command.params
        if "--version" in args and any("--version" in parameter.opts for parameter in parents):
            _print_version(ctx)
        return super().parse_args(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        # Help has a column for the second names of flags. --no-NAME of what is off anyway, which only overrides a
        # recipe, would take that width from every help text.
        for parameter in self.params:
            if getattr(parameter, "secondary_opts", None) and parameter.default is False:
                parameter.secondary_opts = []
        super().format_help(ctx, formatter)


class _App(typer.Typer):
    """A typer application whose commands are :class:`AppCommand`."""

    def command(self, name: str | None = None, **settings: Any) -> Any:
        return super().command(name, **{"cls": AppCommand, **settings})


class AppGroup(TyperGroup):
    """A group whose ``default_command`` runs if the first word is not a command.

    It allows both ``distill-export RUN`` and ``distill-export inspect BUNDLE``.
    """

    default_command: str | None = None

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        first = args[0] if args else ""
        own = {"--help", "-h", *(flag for parameter in self.params for flag in parameter.opts)}
        known = first in self.commands or first.partition("=")[0] in own
        is_word = bool(first) and first[0] != "-" and not known and not os.path.lexists(first)
        # A mistyped command would become an argument of the default command, whose error would mislead.
        if (
            self.default_command
            and is_word
            and not ctx.resilient_parsing
            and difflib.get_close_matches(first, self.commands, n=1, cutoff=_NEAR)
        ):
            raise UsageFailure(f"{first}: no such command, file or folder", suggest(first, self.commands))
        if self.default_command and args and not known:
            args = [self.default_command, *args]
        return super().parse_args(ctx, args)

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        found = super().shell_complete(ctx, incomplete)
        if self.default_command:
            default = self.commands[self.default_command]
            with default.make_context(self.default_command, [], parent=ctx, resilient_parsing=True) as own:
                found = [*found, *default.shell_complete(own, incomplete)]
        return found


def make_app(help_text: str, default_command: str | None = None, program: str | None = None) -> typer.Typer:
    """Create a typer application with the shared settings.

    Args:
        help_text: Text of ``--help``; include examples.
        default_command: Command to run if the first argument is not a command.
        program: Name of an installed command with subcommands: it gets ``--version`` and shell completion.
    """
    group = type("Group", (AppGroup,), {"default_command": default_command})
    if default_command:
        command = f"{program} {default_command}" if program else default_command
        help_text = f"{help_text.rstrip()}\n\n    All options: `{command} --help`."
    app = _App(
        cls=group,
        help=help_text,
        no_args_is_help=True,
        add_completion=program is not None,
        rich_markup_mode="markdown",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    if program is None:
        return app

    @app.callback(help=help_text)
    def root(version: VersionOption = False) -> None:
        pass

    return app


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
        console.print(f"error: {_usage_error(error)}", style="red", markup=False, soft_wrap=True)
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


def _usage_error(error: Any) -> str:
    """Return what is wrong with a command line, and the nearest valid word or where to look."""
    text, message = getattr(error, "message", ""), error.format_message().replace("Value error, ", "")
    if possible := getattr(error, "possibilities", None):
        return f"{text} (did you mean '{possible[0]}'?)"
    if text.endswith("'--json' does not take a value."):
        return f"{text} (--json-out FILE writes a file)"
    if choice := re.search(r"'([^']*)' is not one of ('.*')\.$", message):
        near = suggest(choice[1], re.findall(r"'([^']*)'", choice[2]))
        if near.startswith("did you mean"):
            return f"{message} ({near})"
    context = getattr(error, "ctx", None)
    return message + (f" (see {context.command_path} --help)" if context else "")
