"""Counts of what was found; parts of the data are counted by several processes and added up."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from .against import Comparison
from .photos import PhotoMark
from .rules import Finding
from .tables import Segment

__all__ = ['COLUMNS', 'KEPT', 'RuleCount', 'Tally']

COLUMNS = ('images', 'semantic', 'instance', 'panoptic', 'crowds', 'pixels')
"""Of the histogram: images with the class, targets of the three tasks, crowd segments, pixels."""
KEPT = 10_000
"""Findings of one rule that are kept; more are only counted."""


@dataclass
class RuleCount:
    """How often a rule is broken."""

    count: int = 0
    images: int = 0
    findings: list[Finding] = field(default_factory=list)
    """The first ``KEPT`` ones."""


@dataclass
class Tally:
    """What was found in some of the images."""

    histogram: np.ndarray
    """(K, 6) int64, see ``COLUMNS``."""
    rules: dict[str, RuleCount] = field(default_factory=dict)
    images: int = 0
    segments: int = 0
    pixels: int = 0
    void: int = 0
    cpu_seconds: float = 0.0
    photos: list[tuple[PhotoMark, Finding]] = field(default_factory=list)
    """Readable photos, and the image and file to name in a finding."""
    fixable: list[int] = field(default_factory=list)
    """Images with a finding that may be fixed, by their place in the list."""
    comparisons: list[Comparison] = field(default_factory=list)
    """Instances of another annotation that are no segment of their own."""

    @classmethod
    def empty(cls, num_classes: int) -> 'Tally':
        """A tally of no image."""
        return cls(np.zeros((num_classes, len(COLUMNS)), dtype=np.int64))

    def add_findings(self, findings: Iterable[Finding]) -> None:
        """Count findings of one image, or of the JSON as a whole."""
        broken = set()
        for finding in findings:
            entry = self.rules.setdefault(finding.rule, RuleCount())
            entry.count += 1
            entry.images += finding.image_id is not None and finding.rule not in broken
            broken.add(finding.rule)
            if len(entry.findings) < KEPT:
                entry.findings.append(finding)

    def add_segments(self, segments: Sequence[Segment], pixels: dict[int, int] | None) -> None:
        """Count the segments of one image.

        Args:
            segments: The segment table.
            pixels: Pixels by id, 0 = void; None if the PNG could not be read: the table is believed then.
        """
        self.images += 1
        self.segments += len(segments)
        self.pixels += sum((pixels or {}).values())
        self.void += (pixels or {}).get(0, 0)
        rows: dict[int, list[int]] = {}
        for segment in segments:
            area = (pixels or {}).get(segment.id, 0)
            if pixels is not None and not area:
                continue
            row = rows.setdefault(segment.label, [1, 0, 0, 0, 0, 0])
            row[4] += segment.iscrowd
            row[5] += area
            if not segment.iscrowd:
                row[1] = 1  # The segments of a class are one semantic target.
                row[2] += segment.isthing
                row[3] += 1
        for label, row in rows.items():
            self.histogram[label] += row

    def merge(self, other: 'Tally') -> None:
        """Add what ``other`` counted in later images."""
        for name, theirs in other.rules.items():
            ours = self.rules.setdefault(name, RuleCount())
            ours.count += theirs.count
            ours.images += theirs.images
            ours.findings += theirs.findings[: KEPT - len(ours.findings)]
        self.histogram += other.histogram
        self.images += other.images
        self.segments += other.segments
        self.pixels += other.pixels
        self.void += other.void
        self.cpu_seconds += other.cpu_seconds
        self.photos += other.photos
        self.fixable += other.fixable
        self.comparisons += other.comparisons
