"""What was found, for people and for programs."""

from collections.abc import Iterator, Sequence
from typing import Any

from ...text_table import format_table
from ...version import __version__
from .examine import Examination
from .fixing import Fixes
from .rules import RULES, SEVERITIES, Finding
from .tally import COLUMNS, RuleCount

__all__ = ['counts_by_severity', 'format_report', 'report_dict']

EXAMPLES = 3
"""Findings of a rule that people are shown."""
ROWS = 40
"""Classes up to which the histogram is shown whole; else the most frequent and the rarest."""


def counts_by_severity(examination: Examination) -> dict[str, int]:
    """Number of findings: errors, warnings, notes."""
    return {
        severity: sum(
            entry.count for name, entry in examination.tally.rules.items() if RULES[name].severity == severity
        )
        for severity in SEVERITIES
    }


def report_dict(examination: Examination, fixes: Fixes | None = None) -> dict[str, Any]:
    """Everything that was found, as docs/dataset_doctor.md describes it; JSON can hold it."""
    tally, dataset = examination.tally, examination.source.dataset
    return {
        'format': 1,
        'version': __version__,
        'panoptic_json': str(dataset.ann_file),
        'photos': dataset.data_prefix['img'],
        'maps': dataset.data_prefix['seg'],
        'images': tally.images,
        'segments': tally.segments,
        'void_share': tally.void / max(tally.pixels, 1),
        'counts': counts_by_severity(examination),
        'rules': [_rule_dict(examination, name, entry) for name, entry in _ordered(examination)],
        'classes': _histogram(examination),
        'instances': [comparison._asdict() for comparison in tally.comparisons],
        'fixes': fixes.changes if fixes is not None else [],
        'seconds': round(examination.seconds, 3),
        'cpu_seconds': round(tally.cpu_seconds, 3),
        'processes': examination.jobs,
    }


def format_report(examination: Examination) -> str:
    """The report for people: a table of rules, examples with advice, and the class histogram."""
    tally, dataset = examination.tally, examination.source.dataset
    classes = examination.context.classes
    void = 100 * tally.void / max(tally.pixels, 1)
    head = [
        f'{dataset.ann_file}: {tally.images} images, {tally.segments} segments, {void:.1f} % void, '
        f'{len(classes.names)} classes ({len(classes.things)} things)',
        f'photos: {dataset.data_prefix["img"]}',
        f'PNGs:   {dataset.data_prefix["seg"]}',
    ]
    parts = ['\n'.join(head)]
    if tally.rules:
        parts += [_rules_overview(examination), *_rule_details(examination)]
    parts += [_histogram_table(examination), _last_line(examination)]
    return '\n\n'.join(parts)


def _ordered(examination: Examination) -> list[tuple[str, RuleCount]]:
    """Broken rules, the worst first."""
    rules = examination.tally.rules
    names = [name for severity in SEVERITIES for name, rule in RULES.items() if rule.severity == severity]
    return [(name, rules[name]) for name in names if name in rules]


def _share(examination: Examination, entry: RuleCount) -> float | None:
    """Per cent of the images; None for what concerns the JSON as a whole."""
    return 100 * entry.images / max(examination.tally.images, 1) if entry.images else None


def _rules_overview(examination: Examination) -> str:
    rows = [
        [
            f'{RULES[name].severity:<7}  {name}',
            str(entry.count),
            str(entry.images or '-'),
            _share(examination, entry),
            'yes' if RULES[name].fix else '-',
        ]
        for name, entry in _ordered(examination)
    ]
    return format_table(['what     rule', 'found', 'images', '%', '--fix'], rows)


def _rule_details(examination: Examination) -> Iterator[str]:
    for name, entry in _ordered(examination):
        rule = RULES[name]
        lines = [f'{rule.severity} {name}: {rule.meaning}']
        lines += [f'  {_line(finding)}' for finding in entry.findings[:EXAMPLES]]
        if entry.count > EXAMPLES:
            lines.append(f'  ... and {entry.count - EXAMPLES} more')
        if rule.severity != 'note':
            lines.append(f'  -> {rule.remedy}')
        yield '\n'.join(lines)


def _line(finding: Finding) -> str:
    return f'{finding.file}: {finding.text}' if finding.file else finding.text


def _rule_dict(examination: Examination, name: str, entry: RuleCount) -> dict[str, Any]:
    rule, share = RULES[name], _share(examination, entry)
    return {
        'rule': name,
        'severity': rule.severity,
        'count': entry.count,
        'images': entry.images,
        'share': None if share is None else share / 100,
        'meaning': rule.meaning,
        'cure': rule.remedy,
        'fix': rule.fix,
        'findings': [
            {'image_id': one.image_id, 'file': one.file, 'segment_id': one.segment_id, 'text': one.text}
            for one in entry.findings
        ],
    }


def _histogram(examination: Examination) -> list[dict[str, Any]]:
    classes = examination.context.classes
    return [
        {'label': label, 'name': name, 'isthing': label in classes.things, **dict(zip(COLUMNS, row))}
        for label, (name, row) in enumerate(zip(classes.names, examination.tally.histogram.tolist()))
    ]


def _histogram_table(examination: Examination) -> str:
    """Targets of each class by task, the most frequent first; of many classes the first and the last."""
    pixels = max(examination.tally.pixels, 1)
    present = [row for row in _histogram(examination) if row['images']]
    present.sort(key=lambda row: (-row['panoptic'], row['label']))
    rows: list[Sequence[Any]] = [
        [
            f'{row["label"]:>3}  {row["name"]}',
            'thing' if row['isthing'] else 'stuff',
            *(str(row[column]) for column in COLUMNS[:-1]),
            f'{100 * row["pixels"] / pixels:.2f}',
        ]
        for row in present
    ]
    if len(rows) > ROWS:
        middle = [f'     ... {len(rows) - ROWS} more in --json', *[''] * (len(COLUMNS) + 1)]
        rows = [*rows[: ROWS // 2], middle, *rows[-ROWS // 2 :]]
    return 'Targets by task:\n' + format_table(['     class', 'kind', *COLUMNS[:-1], 'pixels %'], rows)


def _last_line(examination: Examination) -> str:
    counts = counts_by_severity(examination)
    found = ', '.join(f'{count} {severity}{"s" * (count != 1)}' for severity, count in counts.items())
    rate = examination.tally.images / max(examination.tally.cpu_seconds, 1e-9)
    return (
        f'{found}; {examination.tally.images} images in {examination.seconds:.1f} s with {examination.jobs} '
        f'process{"es" * (examination.jobs > 1)}, {rate:.0f} for each second of a core'
    )
