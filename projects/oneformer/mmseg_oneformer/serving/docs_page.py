"""The OpenAPI description as a page without external files: FastAPI's pages fetch scripts from other servers."""

import json
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

__all__ = ['STYLE', 'docs_page']

STYLE = """
:root { color-scheme: light dark; --faint: light-dark(#5b6472, #9aa4b2); --line: light-dark(#d9dde3, #363c46);
  --code: light-dark(#f3f4f7, #22262d); }
body { max-width: 56rem; margin: 2rem auto; padding: 0 1rem; font: 16px/1.5 system-ui, sans-serif;
  background: light-dark(#fff, #16191e); color: light-dark(#1c2028, #e6e9ee); }
h2 { margin-top: 2.5rem; border-bottom: 1px solid var(--line); } h2 code { background: none; padding: 0; }
code, pre { font: .875em/1.5 ui-monospace, monospace; background: var(--code); border-radius: 4px; padding: .1em .3em; }
pre { padding: .75rem 1rem; overflow-x: auto; }
div { overflow-x: auto; } table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .35rem .8rem .35rem 0; border-bottom: 1px solid var(--line); }
td:first-child, th:first-child { width: 9.5rem; } td:nth-child(2), th:nth-child(2) { width: 12rem; }
th, .faint { color: var(--faint); font-weight: normal; }
a { color: light-dark(#2457c5, #8ab0ff); }
"""


def docs_page(openapi: Mapping[str, Any], url: str) -> str:
    """Return an HTML page, without scripts, of an OpenAPI description; its style sheet is ``STYLE`` at ``docs.css``.

    Args:
        openapi: The description.
        url: Address of the service, with a slash at the end.
    """
    info, schemas = openapi['info'], openapi.get('components', {}).get('schemas', {})
    operations = [
        _operation(method.upper(), path, operation)
        for path, methods in openapi['paths'].items()
        for method, operation in methods.items()
    ]
    title = escape(info['title'])
    return '\n'.join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f'<title>{title}</title><link rel="stylesheet" href="docs.css"></head><body>',
            f'<h1>{title} <small class="faint">{escape(info["version"])}</small></h1>',
            f'<p>{escape(info.get("summary", ""))} {escape(info.get("description", ""))} For programs: ',
            '<a href="openapi.json">openapi.json</a>.</p>',
            f'<pre>curl --data-binary @photo.jpg "{escape(url)}predict?tasks=panoptic"</pre>',
            *operations,
            '<h2>Types</h2>',
            *(_schema(name, schema) for name, schema in schemas.items()),
            '</body></html>',
        ]
    )


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> str:
    parts = [f'<h2><code>{method} {escape(path)}</code></h2><p>{escape(operation.get("summary", ""))}.</p>']
    body = operation.get('requestBody')
    if body:
        parts.append(f'<p>Body: {escape(body["description"])}</p>')
    if operation.get('parameters'):
        rows = (
            (
                _code(one['name']),
                _type(one['schema']),
                _code(one['schema'].get('default', '')),
                escape(one.get('description', '')),
            )
            for one in operation['parameters']
        )
        parts.append(_table(('parameter', 'type', 'default', ''), rows))
    responses = (
        (_code(status), _content(one), escape(one['description'])) for status, one in operation['responses'].items()
    )
    parts.append(_table(('status', 'type', ''), responses))
    return ''.join(parts)


def _content(response: Mapping[str, Any]) -> str:
    schemas = [content.get('schema', {}) for content in response.get('content', {}).values()]
    return _type(schemas[0]) if schemas else ''


def _schema(name: str, schema: Mapping[str, Any]) -> str:
    required = schema.get('required', ())
    rows = (
        (
            _code(key),
            _type(one) + ('' if key in required else ' <span class="faint">or left out</span>'),
            escape(one.get('description', '')),
        )
        for key, one in schema.get('properties', {}).items()
    )
    heading = f'<h3 id="{escape(name)}"><code>{escape(name)}</code></h3>'
    example = f'<pre>{escape(json.dumps(schema["example"], indent=1))}</pre>' if 'example' in schema else ''
    return f'{heading}<p>{escape(schema.get("description", ""))}</p>{_table(("field", "type", ""), rows)}{example}'


def _type(schema: Mapping[str, Any]) -> str:
    """Return a schema in a few words, with a link if it has a name."""
    if '$ref' in schema:
        name = escape(schema['$ref'].rpartition('/')[2])
        return f'<a href="#{name}">{name}</a>'
    if 'anyOf' in schema:
        return ' or '.join(_type(one) for one in schema['anyOf'] if one.get('type') != 'null')
    if 'enum' in schema:
        return ', '.join(map(_code, schema['enum']))
    if schema.get('type') == 'array':
        inside = schema.get('items') or (schema.get('prefixItems') or [{}])[0]
        count = schema.get('maxItems')
        return f'{count or "list of"} {_type(inside)}'
    bounds = f' {schema["minimum"]}..{schema["maximum"]}' if {'minimum', 'maximum'} <= schema.keys() else ''
    return escape(schema.get('type', '')) + bounds


def _table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = ''.join(f'<th>{cell}</th>' for cell in header)
    body = ''.join(f'<tr>{"".join(f"<td>{cell}</td>" for cell in row)}</tr>' for row in rows)
    return f'<div><table><tr>{head}</tr>{body}</table></div>'


def _code(text: Any) -> str:
    return f'<code>{escape(str(text))}</code>' if text != '' else ''
