"""A command line made from a recipe: every field of the dataclass is an option."""

from __future__ import annotations

import argparse
import dataclasses
import re
import sys
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

# The options of a recipe are too many to come before every error.
_USAGE = "%(prog)s [--recipe NAME] [--OPTION VALUE ...] (--help lists the options)"


def option(default: Any, help: str, decides: bool = True) -> Any:
    """A recipe field with its default and the sentence that `--help` shows.

    Args:
        default: value of the field.
        help: the sentence.
        decides: whether another value makes another training of it. A run may go on with other
            values of fields that do not decide.
    """
    return dataclasses.field(default=default, metadata={"help": help, "decides": decides})


def parse_recipe(
    description: str,
    recipes: Mapping[str, Any],
    argv: Sequence[str] | None = None,
    *,
    default: str,
    add_arguments: Callable[[argparse.ArgumentParser], None] = lambda parser: None,
) -> tuple[Any, argparse.Namespace]:
    """Parses `--recipe NAME` and an option for each of the recipe's fields.

    Args:
        description: first line of `--help`.
        recipes: name -> frozen dataclass instance, all of one class.
        argv: arguments, those of the process by default.
        default: name of the recipe when none is given.
        add_arguments: adds the options of the command itself, such as the run folder.

    Returns:
        The recipe with the given fields replaced, and the parsed namespace.
    """
    argv = [_with_hyphens(word) for word in (sys.argv[1:] if argv is None else argv)]
    # The recipe comes first, so that --help shows the values that it would run with.
    chooser = argparse.ArgumentParser(usage=_USAGE, add_help=False, allow_abbrev=False)
    chooser.add_argument("--recipe", default=default)
    name = chooser.parse_known_args(argv)[0].recipe
    if name not in recipes:
        chooser.error(f"unknown recipe {name!r}, choose from: {', '.join(recipes)}")
    recipe = recipes[name]

    parser = argparse.ArgumentParser(
        usage=_USAGE,
        description=description,
        allow_abbrev=False,
        formatter_class=_HelpFormatter,
    )
    parser.add_argument(
        "--recipe",
        default=default,
        metavar="NAME",
        help=f"one of: {', '.join(recipes)}; the defaults below are those of {name!r}",
    )
    add_arguments(parser)
    fields = parser.add_argument_group("fields of the recipe")
    hints = typing.get_type_hints(type(recipe))
    for field in dataclasses.fields(recipe):
        _add_field(fields, field, hints[field.name], getattr(recipe, field.name))
    arguments = parser.parse_args(argv)
    given = {}
    for field in dataclasses.fields(recipe):
        if hasattr(arguments, field.name):
            value = getattr(arguments, field.name)
            given[field.name] = tuple(value) if isinstance(value, list) else value
    try:
        return dataclasses.replace(recipe, **given), arguments
    except ValueError as error:
        parser.error(str(error))


class _HelpFormatter(argparse.HelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=34, width=100)


def _with_hyphens(word: str) -> str:
    """`--batch_size` and `--batch-size` are the same option."""
    return re.sub(r"^--[\w-]+", lambda match: match[0].replace("_", "-"), word)


def _add_field(group, field: dataclasses.Field, hint, value) -> None:
    flag = f"--{field.name.replace('_', '-')}"
    shown = " ".join(map(str, value)) if isinstance(value, tuple) else value
    help_text = f"{field.metadata.get('help', '')} [{shown}]".replace("%", "%%")
    # Without a default the namespace holds only what was given.
    common = {"default": argparse.SUPPRESS, "help": help_text, "dest": field.name}
    kind, optional, repeated = _unwrap(hint)
    if kind is bool:
        group.add_argument(flag, action=argparse.BooleanOptionalAction, **common)
        return
    group.add_argument(
        flag,
        type=_optional(kind) if optional else kind,
        nargs="+" if repeated else None,
        metavar=kind.__name__.upper(),
        **common,
    )


def _unwrap(hint) -> tuple[type, bool, bool]:
    """`tuple[int, ...] | None` -> (int, optional, repeated)."""
    optional = False
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        members = [member for member in typing.get_args(hint) if member is not type(None)]
        optional, hint = True, members[0]
    if typing.get_origin(hint) is tuple:
        return typing.get_args(hint)[0], optional, True
    return hint, optional, False


def _optional(kind: type) -> Callable[[str], Any]:
    def convert(text: str):
        return None if text.lower() == "none" else kind(text)

    convert.__name__ = kind.__name__
    return convert
