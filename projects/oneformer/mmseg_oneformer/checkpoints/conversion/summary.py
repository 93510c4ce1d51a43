"""The table of what became of every tensor in a conversion."""

from collections import Counter
from collections.abc import Iterable, Mapping

from .convert import Conversion

PARTS = {
    'backbone': ('backbone.', 'model.pixel_level_module.encoder.'),
    'pixel decoder': ('head.pixel_decoder.',),
    'task token': ('head.task_token.',),
    'query initializer': ('head.query_initializer.',),
    'decoder': ('head.',),
    'text branch, losses': ('text_mapper.', 'criterion.'),
}
"""Parts of the model and the prefixes of their names; the first match counts."""

OTHER = 'other'


def part_of(key: str) -> str:
    """Return the part of the model that a tensor belongs to."""
    return next((part for part, prefixes in PARTS.items() if key.startswith(prefixes)), OTHER)


def format_report(
    conversion: Conversion, model: Iterable[str], dropped: Mapping[str, str], reset: Iterable[str]
) -> str:
    """Return the table of a conversion to our names, and the reasons below it.

    Args:
        conversion: From the file to our names.
        model: All keys of our model.
        dropped: What was left out afterwards, by our names, and why.
        reset: What was initialised anew, by our names.
    """
    reset = list(reset)
    used = Counter(part_of(ours) for ours in conversion.used.values() if ours not in dropped and ours not in reset)
    lost = Counter(part_of(ours) for ours in conversion.used.values() if ours in dropped or ours in reset)
    lost += Counter(map(part_of, conversion.dropped))
    computed = Counter(map(part_of, conversion.filled))
    again, size = Counter(map(part_of, reset)), Counter(map(part_of, model))
    filled = Counter(part_of(key) for key in model if key in conversion.state or key in reset)
    rows: list[tuple[str, ...]] = [('', 'in the file', 'used', 'dropped', 'computed', 'reset', 'of the model')]
    for part in [*PARTS, OTHER]:
        counts = (used[part] + lost[part], used[part], lost[part], computed[part], again[part])
        if any(counts) or size[part]:
            rows.append((part, *(str(count or '-') for count in counts), f'{filled[part]}/{size[part]}'))
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = [
        '  '.join(
            cell.ljust(width) if i == 0 else cell.rjust(width) for i, (cell, width) in enumerate(zip(row, widths))
        )
        for row in rows
    ]
    reasons = [
        *((f'dropped {key}', why) for key, why in {**conversion.dropped, **dropped}.items()),
        *((f'computed {key}', why) for key, why in conversion.filled.items()),
        *((f'reset {key}', 'other classes') for key in reset),
    ]
    return '\n'.join([*lines, *_by_reason(reasons), *(f'warning: {text}' for text in conversion.warnings)])


def _by_reason(reasons: Iterable[tuple[str, str]]) -> list[str]:
    """Return one line for each kind and reason, with the first key as an example."""
    groups: dict[tuple[str, str], list[str]] = {}
    for what, why in reasons:
        kind, _, key = what.partition(' ')
        groups.setdefault((kind, why), []).append(key)
    return [
        f'{kind} {len(keys)}: {why} ({keys[0]}{", ..." if len(keys) > 1 else ""})'
        for (kind, why), keys in groups.items()
    ]
