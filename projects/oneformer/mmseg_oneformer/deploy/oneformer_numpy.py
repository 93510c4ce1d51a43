"""Predictions of an exported OneFormer with numpy, Pillow and onnxruntime only: no torch, no OpenMMLab.

This file is self-contained: ``tools/export.py`` puts a copy of it beside the graph, and the folder runs anywhere.
(Graphs of the formats *torch* and *aotinductor* are run by torch, which is imported only for them.)

    python folder/oneformer_numpy.py photo.jpg semantic instance panoptic      # prints what is in the photo

    from oneformer_numpy import OneFormer, read_photo
    model = OneFormer('folder')
    predictions = model(read_photo('photo.jpg'), tasks=('panoptic',))   # or any (H, W, 3) uint8 RGB

The predictions equal those of the PyTorch model up to the rounding of the network's own output. Photos are processed
tile by tile, so that memory does not grow with pixels times queries; in most tiles only a few classes and queries are
in reach, and all others are not computed.
"""

import argparse
import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

TASKS = ('semantic', 'instance', 'panoptic')
GRAPHS = {'onnx': 'model.onnx', 'torch': 'model.pt2', 'aotinductor': 'model.pt2'}
INSTANCE_OFFSET = 1000
SIDE = 64
"""Pixels of a tile's side."""
SLACK = 1e-5
"""Bounds are wider by this share of the largest logit, which is more than all rounding."""


class Size(NamedTuple):
    """Sizes (height, width) in pixels that a photo goes through."""

    padded: tuple[int, int]
    """What the network saw."""
    image: tuple[int, int]
    """The resized photo, at the top left of it."""
    original: tuple[int, int]


class Instances(NamedTuple):
    """The n instances of a photo, the best first."""

    labels: np.ndarray
    """(n,) int64 class indices."""
    scores: np.ndarray
    """(n,) float32 in 0..1."""
    boxes: np.ndarray
    """(n, 4) float32 xyxy in pixels, x2 and y2 one past the last pixel; zeros for an empty mask."""
    crops: list[np.ndarray]
    """n masks (y2 - y1, x2 - x1) bool, each inside its box."""
    size: tuple[int, int]
    """Height and width of the photo."""

    @property
    def masks(self) -> np.ndarray:
        """Masks of the whole photo, (n, H, W) bool."""
        masks = np.zeros((len(self.crops), *self.size), bool)
        for mask, crop, (x1, y1, x2, y2) in zip(masks, self.crops, self.boxes.astype(int)):
            mask[y1:y2, x1:x2] = crop
        return masks


class OneFormer:
    """An exported model.

    Args:
        folder: Has a graph and ``model.json``.
        providers: Of onnxruntime, such as ``['CUDAExecutionProvider']``; by default the CPU.

    Raises:
        FileNotFoundError: If the folder is incomplete.
        ValueError: If its graph cannot be loaded.
    """

    def __init__(self, folder: str | Path, providers: list[str] | None = None) -> None:
        described = Path(folder) / 'model.json'
        if not described.is_file():
            raise FileNotFoundError(f'{folder} is not a complete export: it has no model.json; export the model again.')
        self.meta = json.loads(described.read_text(encoding='utf-8'))
        graph = str(Path(folder) / GRAPHS[self.meta['format']])
        load = _load_onnx if self.meta['format'] == 'onnx' else _load_torch
        try:
            self.run = load(graph, self.meta, providers)
        except ImportError:
            raise
        except Exception as error:  # Each library raises its own.
            raise ValueError(f'{graph} cannot be loaded ({error}); export the model again.') from error

    def __call__(self, rgb: np.ndarray, tasks: str | tuple[str, ...] = TASKS) -> dict[str, Any]:
        """Predict for a photo (H, W, 3) uint8 RGB; return predictions by task, as the three functions below do.

        Raises:
            ValueError: If it is not such a photo, or there is no such task.
        """
        tasks = (tasks,) if isinstance(tasks, str) else tasks
        unknown = sorted(set(tasks) - set(TASKS))
        if unknown or not tasks:
            raise ValueError(f'tasks must be some of {", ".join(TASKS)}, not {", ".join(unknown) or "none"}.')
        pixels, size = preprocess(rgb, self.meta)
        class_logits, mask_logits = self.run(pixels, np.array([TASKS.index(task) for task in tasks], np.int64))
        return {
            task: postprocess(task, class_logits[0, t], mask_logits[0, t], size, self.meta)
            for t, task in enumerate(tasks)
        }


Runner = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Image (B, 3, H, W) and tasks (T,) to class logits (B, T, N, K+1) and mask logits (B, T, N, H/4, W/4)."""


def _load_onnx(graph: str, meta: dict[str, Any], providers: list[str] | None) -> Runner:
    # Its newer wheels store an identifier of this machine in ~/.cache and report each use to Microsoft, unless told
    # otherwise before they are imported.
    os.environ.setdefault('ORT_DISABLE_TELEMETRY', '1')
    import onnxruntime

    session = onnxruntime.InferenceSession(graph, providers=providers or ['CPUExecutionProvider'])
    return lambda image, task: tuple(session.run(None, {'image': image, 'task': task}))


def _load_torch(graph: str, meta: dict[str, Any], providers: list[str] | None) -> Runner:
    import torch

    network: Any
    if meta['format'] == 'torch':
        network = torch.export.load(graph).module()
    else:
        network = torch._inductor.aoti_load_package(graph)

    def run(image: np.ndarray, task: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        with torch.inference_mode():
            classes, masks = network(*(torch.from_numpy(part).to(meta['device']) for part in (image, task)))
        return classes.cpu().numpy(), masks.cpu().numpy()

    return run


def read_photo(path: str | Path, bits: int | None = None) -> np.ndarray:
    """Read a photo as (H, W, 3) uint8 RGB, rotated by its orientation; alpha is dropped, 16 bits become 8.

    Args:
        path: Of any format that Pillow reads.
        bits: Of photos with 16 bits a channel, how many the data use; None: all. ``model.meta['bits']`` has what the
            model was trained with.

    Raises:
        ValueError: If it cannot be read, or its values have no known range (32 bits, floating point, LAB).
    """
    from PIL import Image, ImageOps

    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        with Image.open(path) as file:
            tags = getattr(file, 'tag_v2', {})
            depth = max(tags.get(258, (8,)))  # BitsPerSample of a TIFF
            is_signed = depth == 16 and 2 in tags.get(339, ())  # SampleFormat
            is_deep = file.mode.startswith('I;16') or (
                file.mode == 'I' and (is_signed or file.format in ('PNG', 'PPM'))
            )
            if file.format in ('EPS', 'WMF') or (file.mode in ('I', 'F', 'LAB') and not is_deep):
                raise ValueError(f'values of the mode {file.mode} have no known range')
            if bits is not None and not is_deep and (depth == 16 or '16' in str(file.tile[:1])):
                raise ValueError('Pillow has the upper 8 bits of its 16-bit colours alone; save it with 8 bits')
            for name in ('xmp', 'XML:com.adobe.xmp', 'transparency'):  # Of XMP's orientation no other reader knows.
                file.info.pop(name, None)
            file.load()
            image = ImageOps.exif_transpose(file)
            if is_deep:
                depth = 15 if is_signed else min(depth, 16) if depth > 8 else 16
                image = Image.fromarray(_eight_bits(np.asarray(image), depth, bits, str(path)))
            image.info.pop('transparency', None)
            return np.asarray(image.convert('RGB'))
    except FileNotFoundError:
        raise ValueError(f'{path} does not exist; give the path of a photo.') from None
    except Exception as error:  # Plugins raise anything for broken files.
        raise ValueError(f'{path} cannot be read as a photo: {error}.') from error
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _eight_bits(values: np.ndarray, depth: int, bits: int | None, name: str) -> np.ndarray:
    """Return the upper 8 of the bits that the data use, the same for every photo; warn where that leaves it dark."""
    used, high = bits or depth, int(values.max())
    if bits is None and 0 < high < 1 << (depth - 1):
        warnings.warn(
            f'{name} has {depth} bits a channel and no value above {high}: it is dark; give bits=.', stacklevel=3
        )
    return (np.clip(values, 0, (1 << used) - 1) >> (used - 8)).astype(np.uint8)


def preprocess(rgb: np.ndarray, meta: dict[str, Any]) -> tuple[np.ndarray, Size]:
    """Resize a photo and pad it; the graph itself subtracts the mean and divides by the standard deviation.

    Args:
        rgb: (H, W, 3) uint8.
        meta: ``shortest_edge`` and ``max_size`` in pixels; ``divisor`` and ``least_side`` of the padded size, or
            ``fixed_size``, into which larger photos are fitted.

    Returns:
        (1, 3, H', W') float32 RGB in 0..255, padded with the mean, and the sizes.

    Raises:
        ValueError: If it is not such a photo.
    """
    from PIL import Image

    if not isinstance(rgb, np.ndarray):
        raise ValueError(f'The photo must be an array, not a {type(rgb).__name__}; read_photo makes one from a file.')
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or not rgb.size:
        raise ValueError(f'The photo must be (H, W, 3) uint8 RGB, not {rgb.shape} {rgb.dtype}.')
    original = (rgb.shape[0], rgb.shape[1])
    height, width = shortest_edge(original, meta['shortest_edge'], meta['max_size'])
    fixed, divisor, least = meta['fixed_size'], meta['divisor'], meta['least_side']
    if fixed and (height > fixed[0] or width > fixed[1]):
        scale = min(fixed[0] / original[0], fixed[1] / original[1])
        height, width = max(int(original[0] * scale), 1), max(int(original[1] * scale), 1)
    rows, columns = fixed or (max(-(-side // divisor) * divisor, least) for side in (height, width))
    pixels = np.broadcast_to(np.array(meta['mean'], np.float32), (rows, columns, 3)).copy()
    pixels[:height, :width] = np.asarray(Image.fromarray(rgb).resize((width, height), Image.Resampling.BILINEAR))
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))[None], Size((rows, columns), (height, width), original)


def shortest_edge(size: tuple[int, int], edge: int, max_size: int) -> tuple[int, int]:
    """New (height, width): the shorter side is ``edge``, unless the longer one would then exceed ``max_size``."""
    height, width = size
    scale = edge / min(height, width)
    new_height, new_width = (edge, scale * width) if height < width else (scale * height, edge)
    longer = max(new_height, new_width)
    if longer > max_size:
        new_height, new_width = new_height * (max_size / longer), new_width * (max_size / longer)
    return max(int(new_height + 0.5), 1), max(int(new_width + 0.5), 1)


def postprocess(task: str, class_logits: np.ndarray, mask_logits: np.ndarray, size: Size, meta: dict[str, Any]) -> Any:
    """Turn class logits (N, K+1) and mask logits (N, h, w) of one photo into one task's prediction."""
    if task == 'semantic':
        return semantic(class_logits, mask_logits, size)
    if task == 'instance':
        return instances(class_logits, mask_logits, size, meta['thing_ids'], meta['max_per_image'])
    return panoptic(class_logits, mask_logits, size, meta['thing_ids'], meta['object_mask_thr'], meta['overlap_thr'])


def semantic(class_logits: np.ndarray, mask_logits: np.ndarray, size: Size) -> np.ndarray:
    """Class index of every pixel, (H, W) int64: the largest sum of class probability times mask probability."""
    probs = softmax(class_logits)[:, :-1]
    labels = np.empty(size.original, np.int64)
    for tile in tiles(mask_logits, size):
        low, high = (sigmoid(bound) for bound in tile.bounds())
        possible = np.flatnonzero(~((high @ probs) * (1 + SLACK) < (low @ probs).max()))  # All, if logits are NaN.
        if len(possible) > 1:
            scores = np.tensordot(probs[:, possible], sigmoid(tile.logits()), (0, 0))
            labels[tile.place] = possible[scores.argmax(0)]
        else:
            labels[tile.place] = possible[0]
    return labels


def instances(
    class_logits: np.ndarray, mask_logits: np.ndarray, size: Size, thing_ids: list[int], max_per_image: int
) -> Instances:
    """Choose the best pairs of query and class and keep things; a score is class times mean mask probability."""
    probs = softmax(class_logits)[:, :-1]
    order = np.argsort(-probs.ravel(), kind='stable')[:max_per_image]
    queries, labels = np.divmod(order, probs.shape[1])
    scores = probs.ravel()[order]
    chosen = np.isin(labels, thing_ids)
    queries, labels, scores = queries[chosen], labels[chosen], scores[chosen]
    unique, inverse = np.unique(queries, return_inverse=True)
    rows, columns = resize_matrices(mask_logits.shape[1:], size)
    quality, boxes = np.zeros(len(unique), np.float32), np.zeros((len(unique), 4), np.float32)
    crops = []
    for k, logits in enumerate(mask_logits[unique]):
        top, left = (reach(matrix, (logits > 0).any(axis)) for matrix, axis in ((rows, 1), (columns, 0)))
        values = rows[top] @ (logits @ columns[left].T)
        inside = values > 0
        quality[k] = sigmoid(values[inside]).sum() / (inside.sum() + 1e-6)
        x1, y1, x2, y2 = box(inside)
        crops.append(inside[y1:y2, x1:x2])
        if x2:
            boxes[k] = x1 + left.start, y1 + top.start, x2 + left.start, y2 + top.start
    scores = scores * quality[inverse]
    rank = np.argsort(-scores, kind='stable')
    inverse = inverse[rank]
    return Instances(labels[rank], scores[rank], boxes[inverse], [crops[k] for k in inverse], size.original)


def panoptic(
    class_logits: np.ndarray,
    mask_logits: np.ndarray,
    size: Size,
    thing_ids: list[int],
    object_mask_thr: float,
    overlap_thr: float,
) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Let the confident queries compete for the pixels.

    Returns:
        Ids (H, W) int32, class + 1000 * k and K for void, and a ``dict(id, category_id, isthing, score)`` per segment.
    """
    probs = softmax(class_logits)
    num_classes = probs.shape[1] - 1
    scores, labels = probs.max(1), probs.argmax(1)
    kept = np.flatnonzero((labels != num_classes) & (scores > object_mask_thr))
    if not len(kept):
        return np.full(size.original, num_classes, np.int32), []
    winner, inside, areas = compete(scores[kept], mask_logits[kept], size)
    table = np.full(len(kept), num_classes, np.int32)
    segments: list[dict[str, Any]] = []
    count: dict[int, int] = {}
    for k, (query, (won, own, final)) in enumerate(zip(kept, areas)):
        if not (won and own and final) or won / own < overlap_thr:
            continue
        label = int(labels[query])
        is_thing = label in thing_ids
        is_new = is_thing or label not in count
        count[label] = count.get(label, 0) + is_new
        table[k] = label + INSTANCE_OFFSET * count[label]
        if is_new:
            score = float(scores[query])
            segments.append({'id': int(table[k]), 'category_id': label, 'isthing': is_thing, 'score': score})
    return np.where(inside, table[winner], np.int32(num_classes)), segments


def compete(scores: np.ndarray, mask_logits: np.ndarray, size: Size) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find the query with the largest class score times mask probability in each pixel, on a tie the first.

    Args:
        scores: (n,) of the queries that take part.
        mask_logits: (n, h, w).
        size: The sizes of the photo.

    Returns:
        The winner (H, W) int32; whether the pixel is inside the winner's own mask (H, W) bool; and the number of pixels
        (n, 3) that each query wins, that are in its own mask (probability >= 0.5), and that are both.
    """
    winner, inside = np.empty(size.original, np.int32), np.empty(size.original, bool)
    areas = np.zeros((len(scores), 3), np.int64)
    for tile in tiles(mask_logits, size):
        low, high = tile.bounds()
        least, most = sigmoid(low) * scores, sigmoid(high) * scores
        present = np.flatnonzero(~(most * (1 + SLACK) < least.max()) | (high >= -SLACK))
        probs = sigmoid(tile.logits(present))
        own = probs >= 0.5  # Not logits >= 0: the sigmoid of a small enough negative number is 0.5 too.
        best = (probs * scores[present, None, None]).argmax(0)
        won = present[best]
        final = np.take_along_axis(own, best[None], 0)[0]
        winner[tile.place], inside[tile.place] = won, final
        areas[:, 0] += np.bincount(won.ravel(), minlength=len(scores))
        areas[present, 1] += own.sum((1, 2))
        areas[:, 2] += np.bincount(won[final], minlength=len(scores))
    return winner, inside, areas


class Tile(NamedTuple):
    """A square of the photo and the mask logits that it is made from."""

    place: tuple[slice, slice]
    """Rows and columns of the photo."""
    cells: np.ndarray
    """(N, s, t)."""
    rows: np.ndarray
    """(height, s), weights of the cells for each row of pixels."""
    columns: np.ndarray
    """(width, t)."""

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Smallest and largest logit that each query can have here, (N,) each: resizing only averages."""
        low, high = self.cells.min((1, 2)), self.cells.max((1, 2))
        slack = SLACK * np.maximum(high, -low)
        return low - slack, high + slack

    def logits(self, queries: Any = slice(None)) -> np.ndarray:
        """Logits (n, height, width) of queries."""
        return self.rows @ (self.cells[queries] @ self.columns.T)


def tiles(mask_logits: np.ndarray, size: Size) -> Iterator[Tile]:
    """Yield the tiles of a photo, row by row."""
    rows, columns = (list(_strips(matrix)) for matrix in resize_matrices(mask_logits.shape[1:], size))
    for row, row_cells, row_weights in rows:
        for column, column_cells, column_weights in columns:
            yield Tile((row, column), mask_logits[:, row_cells, column_cells], row_weights, column_weights)


def _strips(matrix: np.ndarray) -> Iterator[tuple[slice, slice, np.ndarray]]:
    """Yield pixels, cells and weights of the tiles along one axis."""
    for start in range(0, len(matrix), SIDE):
        weights = matrix[start : start + SIDE]
        used = np.flatnonzero(weights.any(0))
        cells = slice(used[0], used[-1] + 1)
        yield slice(start, start + len(weights)), cells, np.ascontiguousarray(weights[:, cells])


def reach(matrix: np.ndarray, used: np.ndarray) -> slice:
    """Return the pixels that ``used`` (cells,) bool contribute to, from the first to the last."""
    pixels = np.flatnonzero(matrix[:, used].any(1))
    return slice(int(pixels[0]), int(pixels[-1]) + 1) if len(pixels) else slice(0, 0)


def resize_matrices(low: tuple[int, ...], size: Size) -> list[np.ndarray]:
    """Matrices (H, h) and (W, w): bilinear to the padded size, crop, bilinear to the original size, along each axis."""
    return [
        linear_matrix(image, original) @ linear_matrix(cells, padded)[:image]
        for cells, padded, image, original in zip(low, size.padded, size.image, size.original)
    ]


def linear_matrix(before: int, after: int) -> np.ndarray:
    """Matrix (after, before) of linear resizing with pixel centres at (i + 0.5) / n, without antialiasing."""
    pixels = np.arange(after, dtype=np.float32)
    position = np.maximum((pixels + np.float32(0.5)) * np.float32(before / after) - np.float32(0.5), 0)
    low = np.minimum(position.astype(np.int64), before - 1)
    high = np.minimum(low + 1, before - 1)
    part = position - low.astype(np.float32)
    matrix = np.zeros((after, before), np.float32)
    np.add.at(matrix, (np.arange(after), low), 1 - part)
    np.add.at(matrix, (np.arange(after), high), part)
    return matrix


def box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Tight box of a mask (H, W) bool, x2 and y2 one past the last pixel; zeros for an empty one."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not rows.size:
        return 0, 0, 0, 0
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities along the last axis."""
    exponentials = np.exp(logits - logits.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)), without overflow, and exact for small results: queries compete there too."""
    exponentials = np.exp(-np.abs(logits))
    return np.where(logits >= 0, np.float32(1), exponentials) / (1 + exponentials)


def describe(answers: dict[str, Any], meta: dict[str, Any]) -> str:
    """Return what is in a photo, one line per task."""
    names, lines = meta['classes'], []
    for task, prediction in answers.items():
        if task == 'semantic':
            found = [f'{names[k]} {(prediction == k).mean():.0%}' for k in np.unique(prediction).tolist()]
        elif task == 'instance':
            pairs = zip(prediction.labels.tolist(), prediction.scores.tolist())
            found = [f'{names[label]} {score:.2f}' for label, score in pairs if score >= 0.5]
        else:
            found = [f'{names[one["category_id"]]} {one["score"]:.2f}' for one in prediction[1]]
        lines.append(f'{task}: {", ".join(found) or "nothing"}')
    return '\n'.join(lines)


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description='Print what is in a photo.')
    parser.add_argument('photo')
    parser.add_argument('tasks', nargs='*', metavar='task', default=TASKS, help=f'of {", ".join(TASKS)} (default: all)')
    args = parser.parse_args()
    try:
        model = OneFormer(Path(__file__).parent)
        print(describe(model(read_photo(args.photo, model.meta.get('bits')), tuple(args.tasks)), model.meta))
    except (OSError, ValueError, ImportError) as error:
        print(f'error: {error}', file=sys.stderr)
        sys.exit(2)
