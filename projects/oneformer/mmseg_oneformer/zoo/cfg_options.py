"""``KEY=VALUE`` arguments of a command line, as in ``--cfg-options``.

Decisions:
* The forms of mmengine's ``DictAction``: numbers, true and false, None, words, lists ``a,b`` or ``[a,b]`` and tuples
  ``(a,b)``. In addition what it fails at: ``dict(key=value)`` and ``{'key': value}``, spaces, and quoted text, which
  stays text.
* Only the standard library is imported, so that a misspelt option is reported at once.
"""

import ast
from collections.abc import Iterable
from typing import Any

from ..errors import UserError
from ..safe.plain_config import literal

__all__ = ['read_options', 'read_value']

PAIRS = {'(': ')', '[': ']', '{': '}'}
CONSTANTS = {'true': True, 'false': False}


def read_options(pairs: Iterable[str], flag: str = '--cfg-options') -> dict[str, Any]:
    """Return ``KEY=VALUE`` words as a dict.

    Raises:
        UserError: One of them is not such a pair, or its value cannot be read.

    Example:
        >>> read_options(['a.b=1', 'c=[1,x]', 'd=[dict(type=EMAHook)]'])
        {'a.b': 1, 'c': [1, 'x'], 'd': [{'type': 'EMAHook'}]}
    """
    options = {}
    for pair in pairs:
        key, equals, text = pair.partition('=')
        if not (key and equals):
            raise UserError(f'{flag} takes KEY=VALUE, not {pair!r}; put a pair with blanks in quotes.')
        try:
            options[key] = read_value(text)
        except UserError as error:
            raise UserError(f'{flag} {pair}: {error}.') from error
    return options


def read_value(text: str) -> Any:
    """Return what one value stands for.

    Raises:
        UserError: Its brackets or quotes do not match, or a dict is more than settings.
    """
    text = text.strip()
    parts = _split(text)
    if parts not in ([text], []):
        return [read_value(part) for part in parts]
    if text.startswith(('dict(', '{')):
        return _read_dict(text)
    if text[:1] in ('"', "'") and text.find(text[0], 1) == len(text) - 1:
        return text[1:-1]
    if text.startswith(('(', '[')) and text.endswith(PAIRS[text[0]]):
        values = [read_value(part) for part in _split(text[1:-1])]
        return tuple(values) if text[0] == '(' else values
    return _read_word(text)


def _split(text: str) -> list[str]:
    """Return the parts between the commas outside brackets and quotes."""
    parts, open_brackets, quote = [''], [], ''
    for character in text:
        if quote:
            quote = '' if character == quote else quote
        elif character in ('"', "'") and not parts[-1].strip(' [({=:'):
            quote = character  # Only at the beginning of a value: elsewhere it may be an apostrophe.
        elif character in PAIRS:
            open_brackets.append(PAIRS[character])
        elif character in PAIRS.values() and (not open_brackets or open_brackets.pop() != character):
            raise UserError(f'there is one "{character}" too many; quote text that has brackets')
        if character == ',' and not quote and not open_brackets:
            parts.append('')
        else:
            parts[-1] += character
    if open_brackets or quote:
        raise UserError(f'a "{quote or open_brackets[-1]}" is missing at its end')
    return parts if parts[-1].strip() else parts[:-1]


def _read_word(text: str) -> Any:
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return None if text == 'None' else CONSTANTS.get(text.lower(), text)


def _read_dict(text: str) -> Any:
    try:
        node = ast.parse(text, mode='eval').body
        if isinstance(node, ast.Dict | ast.Call):
            return literal(_Quoted().visit(node))
        raise ValueError('It is a set, or more than a dict.')
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:  # The last two if it is nested too deep.
        raise UserError(
            "it is not a dict of settings; write dict(key=1,other='a/b c'), with quotes around what is not a name"
        ) from error


class _Quoted(ast.NodeTransformer):
    """Turns names into text, so that they need no quotes; only a name that is called stays a name."""

    def visit_Name(self, node: ast.Name) -> ast.expr:  # noqa: N802 (the library's name)
        return ast.Constant(_read_word(ast.unparse(node)))

    visit_Attribute = visit_Name  # type: ignore[assignment]  # noqa: N815

    def visit_Call(self, node: ast.Call) -> ast.expr:  # noqa: N802
        for part in (*node.args, *node.keywords):
            self.visit(part)
        return node
