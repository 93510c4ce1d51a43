"""argparse with "did you mean" for flags and choices."""

import argparse
import re
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

from ..errors import did_you_mean


class Parser(argparse.ArgumentParser):
    """An ``ArgumentParser`` that suggests the flag or choice most similar to an unknown one."""

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """Return the arguments; an unknown flag ends the process with status 2."""
        parsed, unknown = self.parse_known_args(args, namespace)
        if unknown:
            flag = next((word for word in unknown if word.startswith('-')), unknown[0])
            hint = did_you_mean(flag.partition('=')[0], self._flags()) if flag.startswith('-') else ''
            self.error(f'unrecognized arguments: {" ".join(unknown)}{hint}')
        return parsed

    def error(self, message: str) -> NoReturn:
        """End the process with status 2; the operating system's error about an @file is reworded."""
        super().error(re.sub(r"\[Errno \d+\] (.*): '(.*)'", r'\2 cannot be read (\1)', message))

    def _flags(self) -> Iterator[str]:
        """Yield all flags, including those of subcommands."""
        for action in self._actions:
            yield from action.option_strings
            if isinstance(action, argparse._SubParsersAction):
                for command in action.choices.values():
                    yield from command._flags()

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Raise an ArgumentError with a hint if ``value`` is not one of the choices."""
        try:
            super()._check_value(action, value)
        except argparse.ArgumentError as error:
            hint = did_you_mean(str(value), map(str, action.choices or ()))
            raise argparse.ArgumentError(action, f'{error.message}{hint}') from None
