"""How arguments are parsed: an option that takes one value takes it once, and mistakes are said in plain words."""

from __future__ import annotations

import inspect
import re
from typing import Any

from typer.core import TyperCommand

from regulens.errors import UserError


class Command(TyperCommand):
    """A command that refuses an option given twice, where the first would be lost without a word.

    The lines of its help are broken where the terminal ends, not where those of its docstring do.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.help = re.sub(r"(?<!\n)\n(?!\n)", " ", inspect.cleandoc(self.help or ""))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments of this command.

        Raises:
            UserError: if an option that takes one value is given more than once.
        """
        if args and not ctx.resilient_parsing:
            _refuse_repeated(self.make_parser(ctx).parse_args(args=list(args))[2])
        return super().parse_args(ctx, args)


def _refuse_repeated(given: list[Any]) -> None:
    for parameter in given:
        one_value = parameter.param_type_name == "option" and not (parameter.multiple or parameter.is_flag)
        if one_value and given.count(parameter) > 1:
            raise UserError(f"{parameter.opts[0]} is given {given.count(parameter)} times; give it once")


def plain_usage_error(error: Any) -> str:
    """Return what the parser found wrong, with the value that was given and without the words of its libraries."""
    from regulens.spec.mistakes import plain_message

    place, colon, reason = str(error.format_message()).strip().partition(": ")
    plain, given = plain_message(reason), _value(error)
    if plain.startswith("must be") and given is not None:
        plain += f", got {given}"
    return f"{place}{colon}{plain}".rstrip(".")


def _value(error: BaseException) -> object:
    """Return the value that the parser's library refused, None where it does not say."""
    refused = error.__cause__ or error.__context__
    problems = refused.errors() if refused is not None and hasattr(refused, "errors") else []
    return problems[0].get("input") if problems else None
