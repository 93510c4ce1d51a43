"""``KEY=VALUE`` of a command line, as ``--cfg-options`` takes them.

Decisions:
* The forms of mmengine's ``DictAction``: numbers, true and false, None, words, lists ``a,b`` or ``[a,b]`` and tuples
  ``(a,b)``. Beyond them what it fails at: ``dict(key=value)`` and ``{'key': value}``, blanks, and quoted text, which
  stays text.
* Only the standard library is imported, so that a misspelt option is told at once.
"""

import ast
from collections.abc import Iterable
from typing import Any

from ..errors import UserError

__all__ = ['read_options', 'read_value']

PAIRS = {'(': ')', '[': ']', '{': '}'}
CONSTANTS = {'true': True, 'false': False}


def read_options(pairs: Iterable[str], flag: str = '--cfg-options') -> dict[str, Any]:
    """Return ``KEY=VALUE`` words as a dict.

    Raises:
        UserError: One of them is no such pair, or its value cannot be read.

    Example:
        >>> read_options(['a.b=1', 'c=[1,x]', 'd=[dict(type=EMAHook)]'])
        {'a.b': 1, 'c': [1, 'x'], 'd': [{'type': 'EMAHook'}]}
    """
    options = {}
    for pair in pairs:
        key, equals, text = pair.partition('=')
        if not (key and equals):
            raise UserError(f'{flag} takes KEY=VALUE, and {pair!r} is none; quote a pair that has blanks.')
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
    """Return the parts between the commas that stand in no brackets and no quotes."""
    parts, open_brackets, quote = [''], [], ''
    for character in text:
        if quote:
            quote = '' if character == quote else quote
        elif character in ('"', "'") and not parts[-1].strip(' [({=:'):
            quote = character  # At the beginning of a value only: it may be an apostrophe elsewhere.
        elif character in PAIRS:
            open_brackets.append(PAIRS[character])
        elif character in PAIRS.values() and (not open_brackets or open_brackets.pop() != character):
            raise UserError(f'there is a "{character}" too many; quote text that has brackets')
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
            return _literal(node)
        raise ValueError('It is a set, or more than a dict.')
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:  # The last two of what is nested too deep.
        raise UserError(
            "it is no dict of settings; write dict(key=1,other='a/b c'), with quotes around what is no name"
        ) from error


def _literal(node: Any) -> Any:
    """Return what an expression of Python stands for; a name stands for itself, so that it needs no quotes."""
    if isinstance(node, ast.Name | ast.Attribute):
        return _read_word(ast.unparse(node))
    if isinstance(node, ast.List | ast.Tuple):
        return (list if isinstance(node, ast.List) else tuple)(map(_literal, node.elts))
    if isinstance(node, ast.Dict):
        return {_literal(key): _literal(value) for key, value in zip(node.keys, node.values)}
    if isinstance(node, ast.Call) and ast.unparse(node.func) == 'dict' and not node.args:
        settings = {word.arg: _literal(word.value) for word in node.keywords}
        if None not in settings:  # of **more
            return settings
    return ast.literal_eval(node)  # A number, a text, or an error.
