"""Configs as text: settings that are parsed and never run."""

import ast
import sys
from typing import Any

from ..errors import UserError

__all__ = ['is_plain_config', 'literal', 'parse_plain_config']

PLAIN_CALLS = ('dict', 'set', 'tuple')


def is_plain_config(text: str) -> bool:
    """Return whether a config's text consists only of assignments of literals and ``dict(...)``, which are safe to run.

    mmengine imports what ``custom_imports`` names; only modules that are already imported may be named there.

    mmengine fills in templates, ``{{$NAME:default}}``, before it runs a text. It takes the regular expressions for that
    from the text itself, which can make a string end early: what is run would not be what is parsed here.
    """
    if '{{' in text:
        return False
    allowed = (
        *(ast.Module, ast.Assign, ast.Store, ast.Load, ast.Constant, ast.List, ast.Tuple, ast.Dict, ast.Set),
        *(ast.keyword, ast.UnaryOp, ast.USub, ast.Call),
    )
    try:
        tree = ast.parse(text)
        nodes = list(ast.walk(tree))
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # The last two if it is nested too deep.
        return False
    # Names are read only to be called, and a name that is called cannot have been assigned before.
    called = {id(node.func) for node in nodes if isinstance(node, ast.Call)}
    for node in nodes:
        if isinstance(node, ast.Name):
            plain_call = id(node) in called and node.id in PLAIN_CALLS
            plain_target = isinstance(node.ctx, ast.Store) and node.id not in (*PLAIN_CALLS, '_base_')
            if not (plain_call or plain_target):
                return False
        elif not isinstance(node, allowed) or (isinstance(node, ast.Call) and not isinstance(node.func, ast.Name)):
            return False
    return all(_imports_nothing(statement) for statement in tree.body)


def _imports_nothing(statement: ast.stmt) -> bool:
    """Whether an assignment has one target, and imports only what has been imported."""
    if not (isinstance(statement, ast.Assign) and len(statement.targets) == 1):
        return False
    (target,) = statement.targets
    if not isinstance(target, ast.Name):
        return False
    if target.id != 'custom_imports':
        return True
    try:
        names = literal(statement.value)['imports']
    except (ValueError, TypeError, KeyError, RecursionError):
        return False
    names = [names] if isinstance(names, str) else names
    return isinstance(names, list | tuple) and all(isinstance(name, str) and name in sys.modules for name in names)


def parse_plain_config(text: str) -> dict[str, Any]:
    """Return the settings of a config's text, which is parsed and not run.

    Raises:
        UserError: It is more than assignments of literals and ``dict(...)``.
    """
    if not is_plain_config(text):
        raise UserError('it is code, not plain settings')

    settings: dict[str, Any] = {}
    for statement in ast.parse(text).body:
        assert isinstance(statement, ast.Assign)
        (target,) = statement.targets
        settings[ast.unparse(target)] = literal(statement.value)
    return settings


def literal(node: ast.expr) -> Any:
    """Return what an expression of literals and ``dict(...)`` stands for.

    Raises:
        ValueError: It is more than that.
    """
    if isinstance(node, ast.Call):
        # mmengine writes dict({'a.b': 1}) if a key is not a name.
        plain = len(node.args) <= 1 and all(isinstance(part, ast.Dict) for part in node.args)
        if not plain or any(word.arg is None for word in node.keywords) or ast.unparse(node.func) != 'dict':
            raise UserError(f'{ast.unparse(node)[:40]} is not a plain setting')
        return {
            **(literal(node.args[0]) if node.args else {}),
            **{word.arg: literal(word.value) for word in node.keywords},
        }
    if isinstance(node, ast.Dict):
        pairs = zip(node.keys, node.values, strict=True)
        return {ast.literal_eval(key or node): literal(part) for key, part in pairs}
    if isinstance(node, ast.List | ast.Tuple):
        return (list if isinstance(node, ast.List) else tuple)(literal(part) for part in node.elts)
    return ast.literal_eval(node)
