"""Files as they arrive: right, nearly right, cut off, of another program, or noise. Everything is drawn from a seed."""

import copy
import json
import random
from collections.abc import Iterable, Iterator
from typing import Any

__all__ = ['json_file', 'mutated_bytes', 'mutated_json', 'text_file']

NUMBERS = (0, 1, -1, 2, 7, 255, 256, 300, 65_536, 2**24 - 1, 2**24, 2**31, 2**63, 10**40, 0.5, -0.0, 1e308, -1e12)
VALUES: tuple[Any, ...] = (
    *NUMBERS, float('nan'),
    float('inf'), None, True, False, '', '0', '1', '300.0', ' 7 ', 'false', 'nan', 'dog', 'a.jpg',
    'a.png', '..', '../a.jpg', '/etc/passwd', 'C:\\a.jpg', 'images\\a.jpg', 'a\0', '\ud800', 'x' * 5000, '9' * 5000, [],
    {}, [[]], [{}], {'a': []}, [1], [0, 0, 5, 0, 5, 5], [[0, 0, 5, 0, 5, 5]], {'size': [6, 8], 'counts': [48]},
    [10**9] * 6, {'size': [6, 8], 'counts': 'zzzz'}, {'size': [10**6, 10**6], 'counts': [10**12]},
    [None], ['dog', 'cat'], 'P' * 100,
)  # fmt: skip
CODECS = ('utf-8-sig', 'utf-16', 'utf-16-le', 'utf-32', 'latin-1')


def mutated_bytes(rng: random.Random, data: bytes) -> bytes:
    """Return bytes that are cut off, changed, put together anew or none of the old ones."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5, 20))):
        # What is parsed stands at the front and at the end of most files.
        length = len(changed)
        place = rng.choice((rng.randrange(length + 1), rng.randrange(min(length, 200) + 1), max(0, length - 60)))
        kind = rng.choice(('bit', 'byte', 'bytes', 'insert', 'remove', 'number', 'repeat', 'cut', 'zeros'))
        if kind == 'bit' and place < length:
            changed[place] ^= 1 << rng.randrange(8)
        elif kind == 'byte' and place < length:
            changed[place] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
        elif kind == 'bytes':
            changed[place : place + 4] = rng.randbytes(4)
        elif kind == 'insert':
            changed[place:place] = rng.randbytes(rng.choice((1, 4, 100)))
        elif kind == 'remove':
            del changed[place : place + rng.choice((1, 2, 4, 50))]
        elif kind == 'number':
            value = rng.choice((0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, rng.randrange(100_000)))
            changed[place : place + 4] = value.to_bytes(4, rng.choice(('big', 'little')))
        elif kind == 'repeat':
            changed[place:place] = changed[place : place + 100] * rng.choice((1, 3, 50))
        elif kind == 'cut' and rng.random() < 0.3:
            del changed[place:]
        elif kind == 'zeros':
            changed[place : place + 30] = bytes(30)
    if rng.random() < 0.02:
        return rng.choice(
            (b'', b'\0' * 100, rng.randbytes(300), b'{}', b'[' * 100_000, b'<html></html>', b'PK\x03\x04')
        )
    return bytes(changed)


def mutated_json(rng: random.Random, value: Any) -> Any:
    """Return a copy of JSON content in which some things were replaced, removed, renamed or doubled."""
    value = copy.deepcopy(value)
    for _ in range(rng.choice((0, 1, 1, 1, 2, 4))):
        found = [path for path in places(value) if path]
        if not found:
            break
        *path, key = rng.choice(found)
        parent = at(value, path)
        kind = rng.choice(('value', 'value', 'text', 'number', 'remove', 'twice', 'wrap', 'other'))
        if kind == 'remove':
            del parent[key]
        elif kind == 'twice' and isinstance(parent, list):
            parent.append(copy.deepcopy(parent[key]))
        elif kind == 'text':
            parent[key] = str(parent[key])
        elif kind == 'number':
            parent[key] = rng.choice(NUMBERS)
        elif kind == 'wrap':
            parent[key] = rng.choice(([parent[key]], {'a': parent[key]}, json.loads('[' * 150 + ']' * 150)))
        elif kind == 'other':
            parent[key] = copy.deepcopy(at(value, rng.choice(found)))
        else:
            parent[key] = copy.deepcopy(rng.choice(VALUES))
    return copy.deepcopy(rng.choice(VALUES)) if rng.random() < 0.01 else value


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path to every place in a JSON-like value."""
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in inner:
        yield from places(part, (*path, key))


def at(value: Any, path: Iterable[Any]) -> Any:
    """Return what is at a path."""
    for step in path:
        value = value[step]
    return value


def json_file(rng: random.Random, value: Any) -> bytes:
    """Return the bytes of a JSON file with nearly this content."""
    return text_file(rng, json.dumps(mutated_json(rng, value)), damaged=0.1)


def text_file(rng: random.Random, text: str, damaged: float = 0.5) -> bytes:
    """Return the bytes of a text file: in UTF-8 mostly, and damaged sometimes."""
    codec = rng.choice(CODECS) if rng.random() < 0.1 else 'utf-8'
    data = text.encode(codec, errors='replace')
    return mutated_bytes(rng, data) if rng.random() < damaged else data
