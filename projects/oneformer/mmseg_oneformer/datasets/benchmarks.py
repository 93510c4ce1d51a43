"""Classes, things and colours of the public benchmarks, for data sets and for the preparation of their files.

Decisions:
* Names and colours are those of mmdet and mmseg where they have them. They are read from the source, since importing
  one of their data sets imports the library, which takes longer than the preparation of a hundred photos.
* ADE20K: order and spelling are the reference's, including comma lists and the blank after "window ": the published
  models' classes and texts depend on them. mmdet's converter writes files of the same names with all things first; the
  check of the JSON's categories detects such a file at once.
"""

import ast
import importlib.util
from pathlib import Path
from typing import Any

from ..errors import MissingPackageError
from ..safe.plain_config import literal

__all__ = ['ADE20K', 'CITYSCAPES', 'CITYSCAPES_LABEL_IDS', 'COCO', 'MAPILLARY', 'MAPILLARY_UNLABELED']

CITYSCAPES_LABEL_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""Label id of each evaluated class, in the order of the train ids."""

MAPILLARY_UNLABELED = 'Unlabeled'
"""The 66th category, which is void."""

# fmt: off
ADE20K_CLASSES = (
    'wall', 'building', 'sky', 'floor', 'tree', 'ceiling', 'road, route', 'bed', 'window ', 'grass', 'cabinet',
    'sidewalk, pavement', 'person', 'earth, ground', 'door', 'table', 'mountain, mount', 'plant', 'curtain', 'chair',
    'car', 'water', 'painting, picture', 'sofa', 'shelf', 'house', 'sea', 'mirror', 'rug', 'field', 'armchair',
    'seat', 'fence', 'desk', 'rock, stone', 'wardrobe, closet, press', 'lamp', 'tub', 'rail', 'cushion',
    'base, pedestal, stand', 'box', 'column, pillar', 'signboard, sign', 'chest of drawers, chest, bureau, dresser',
    'counter', 'sand', 'sink', 'skyscraper', 'fireplace', 'refrigerator, icebox', 'grandstand, covered stand', 'path',
    'stairs', 'runway', 'case, display case, showcase, vitrine', 'pool table, billiard table, snooker table',
    'pillow', 'screen door, screen', 'stairway, staircase', 'river', 'bridge, span', 'bookcase', 'blind, screen',
    'coffee table', 'toilet, can, commode, crapper, pot, potty, stool, throne', 'flower', 'book', 'hill', 'bench',
    'countertop', 'stove', 'palm, palm tree', 'kitchen island', 'computer', 'swivel chair', 'boat', 'bar',
    'arcade machine', 'hovel, hut, hutch, shack, shanty', 'bus', 'towel', 'light', 'truck', 'tower', 'chandelier',
    'awning, sunshade, sunblind', 'street lamp', 'booth', 'tv', 'plane', 'dirt track', 'clothes', 'pole',
    'land, ground, soil', 'bannister, banister, balustrade, balusters, handrail',
    'escalator, moving staircase, moving stairway', 'ottoman, pouf, pouffe, puff, hassock', 'bottle',
    'buffet, counter, sideboard', 'poster, posting, placard, notice, bill, card', 'stage', 'van', 'ship', 'fountain',
    'conveyer belt, conveyor belt, conveyer, conveyor, transporter', 'canopy',
    'washer, automatic washer, washing machine', 'plaything, toy', 'pool', 'stool', 'barrel, cask',
    'basket, handbasket', 'falls', 'tent', 'bag', 'minibike, motorbike', 'cradle', 'oven', 'ball', 'food, solid food',
    'step, stair', 'tank, storage tank', 'trade name', 'microwave', 'pot', 'animal', 'bicycle', 'lake', 'dishwasher',
    'screen', 'blanket, cover', 'sculpture', 'hood, exhaust hood', 'sconce', 'vase', 'traffic light', 'tray',
    'trash can', 'fan', 'pier', 'crt screen', 'plate', 'monitor', 'bulletin board', 'shower', 'radiator',
    'glass, drinking glass', 'clock', 'flag',
)
ADE20K_THING_IDS = (
    7, 8, 10, 12, 14, 15, 18, 19, 20, 22, 23, 24, 27, 30, 31, 32, 33, 35, 36, 37, 38, 39, 41, 42, 43, 44, 45, 47, 49,
    50, 53, 55, 56, 57, 58, 62, 64, 65, 66, 67, 69, 70, 71, 72, 73, 74, 75, 76, 78, 80, 81, 82, 83, 85, 86, 87, 88,
    89, 90, 92, 93, 95, 97, 98, 102, 103, 104, 107, 108, 110, 111, 112, 115, 116, 118, 119, 120, 121, 123, 124, 125,
    126, 127, 129, 130, 132, 133, 134, 135, 136, 137, 138, 139, 142, 143, 144, 146, 147, 148, 149,
)
MAPILLARY_THING_IDS = (
    0, 1, 8, 19, 20, 21, 22, 23, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 44, 45, 46, 47, 48, 49, 50, 51, 52, 53,
    54, 55, 56, 57, 59, 60, 61, 62,
)
# fmt: on


def library_metainfo(library: str, module: str, name: str) -> dict[str, Any]:
    """Return ``METAINFO`` of a data set of mmdet or mmseg without importing it.

    Args:
        library: 'mmdet' or 'mmseg'.
        module: Path of the source below the library.
        name: Name of the class.

    Raises:
        ImportError: The library has no such table.
    """
    spec = importlib.util.find_spec(library)
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        path = Path(folder) / module
        for node in ast.walk(ast.parse(path.read_text())) if path.is_file() else ():
            if isinstance(node, ast.ClassDef) and node.name == name:
                for line in node.body:
                    if isinstance(line, ast.Assign) and ast.unparse(line.targets[0]) == 'METAINFO':
                        return literal(line.value)
    raise MissingPackageError(f'{library} has no {name} with METAINFO in {module}; install the version we test.')


def _benchmark(table: dict[str, Any], thing_ids: tuple[int, ...], classes: tuple[str, ...] | None = None) -> dict:
    """Return the metainfo of a data set with a library's colours, and its names unless others are given."""
    names = tuple(table['classes']) if classes is None else classes
    return {'classes': names, 'thing_ids': thing_ids, 'palette': [tuple(c) for c in table['palette'][: len(names)]]}


ADE20K = _benchmark(library_metainfo('mmseg', 'datasets/ade.py', 'ADE20KDataset'), ADE20K_THING_IDS, ADE20K_CLASSES)
"""150 classes, with the things scattered among them."""

CITYSCAPES = _benchmark(
    library_metainfo('mmseg', 'datasets/cityscapes.py', 'CityscapesDataset'), thing_ids=tuple(range(11, 19))
)
"""The 19 evaluated classes in the order of their train ids, the 8 things last."""

COCO = _benchmark(
    library_metainfo('mmdet', 'datasets/coco_panoptic.py', 'CocoPanopticDataset'), thing_ids=tuple(range(80))
)
"""133 classes, the 80 things first; names, order and colours are COCO's own."""

_MAPILLARY = library_metainfo('mmseg', 'datasets/mapillary.py', 'MapillaryDataset_v1')
MAPILLARY = _benchmark(_MAPILLARY, MAPILLARY_THING_IDS, tuple(_MAPILLARY['classes'][:65]))
"""Vistas 1.2: 65 classes; "Unlabeled", its 66th category, is void."""
