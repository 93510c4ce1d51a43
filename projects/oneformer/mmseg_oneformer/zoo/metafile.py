"""The zoo: what ``configs/oneformer/metafile.yml`` states about the models.

The metafile is the only source of the published numbers and addresses; ``tools/infer.py --list`` and ``docs/zoo.md``
are generated from it (``evaluation.zoo_tables``).
"""

import posixpath
from collections.abc import Mapping
from typing import Any, NamedTuple

import mmengine

from .configs import config_root

HUB = 'https://huggingface.co/{repository}/resolve/main/{file}'


class ZooModel(NamedTuple):
    """One model of the metafile."""

    name: str
    config: str
    """Path below the root of the repository."""
    data: str
    parameters: int
    """At inference, without the text branch."""
    metrics: Mapping[str, float]
    """0-100 by name; empty if no score was published."""
    measured_by: str
    weights: str | None
    """Address of the published file, or the path of the shipped one below the root of the repository."""
    hub: str | None
    """Repository on the Hugging Face hub that has the same file."""
    checksum: str | None
    """Such as 'md5:0123...', as other projects recorded it."""

    @property
    def urls(self) -> tuple[str, ...]:
        """Addresses of the published file, the authors' own first; empty if there is none."""
        if self.weights is None or '://' not in self.weights:
            return ()
        mirror = HUB.format(repository=self.hub, file=self.file_name) if self.hub else None
        return (self.weights, mirror) if mirror else (self.weights,)

    @property
    def file_name(self) -> str:
        """Name of the weights' file."""
        return posixpath.basename(self.weights or '')


def read_zoo() -> dict[str, ZooModel]:
    """Return the models of the metafile by name, in its order; none if there is no metafile."""
    path = config_root() / 'oneformer/metafile.yml'
    entries = mmengine.load(path)['Models'] if path.is_file() else []
    return {entry['Name']: _model(entry) for entry in entries}


def _model(entry: Mapping[str, Any]) -> ZooModel:
    origin = entry.get('Converted From', {})
    return ZooModel(
        name=entry['Name'],
        config=entry['Config'],
        data=entry['Metadata']['Training Data'],
        parameters=entry['Metadata']['Parameters'],
        metrics={name: value for result in entry.get('Results', ()) for name, value in result['Metrics'].items()},
        measured_by=entry.get('Measured By', ''),
        weights=entry.get('Weights'),
        hub=origin.get('Hub'),
        checksum=origin.get('Checksum'),
    )
