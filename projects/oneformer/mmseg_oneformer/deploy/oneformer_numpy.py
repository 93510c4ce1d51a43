"""Answers of an exported OneFormer by numpy, Pillow and onnxruntime alone: no torch, no OpenMMLab.

This file is complete: `tools/export.py` puts a copy of it beside the graph, and the folder runs wherever it is put.

    python oneformer_numpy.py photo.jpg semantic instance panoptic      # prints what is in the photo

    from oneformer_numpy import OneFormer
    model = OneFormer('folder')
    answers = model(rgb, tasks=('panoptic',))       # rgb: (H, W, 3) uint8

The answers equal those of the PyTorch model up to the rounding of the network's own output.
"""

import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

TASKS = ('semantic', 'instance', 'panoptic')
INSTANCE_OFFSET = 1000
STRIP_ELEMENTS = 2**22


class Size(NamedTuple):
    """Sizes (height, width) in pixels that a photo goes through."""

    padded: tuple[int, int]
    """What the network saw."""
    image: tuple[int, int]
    """The resized photo, at the top left of it."""
    original: tuple[int, int]


class Instances(NamedTuple):
    """The instances of a photo, the best first."""

    labels: np.ndarray
    """(n,) class indices."""
    scores: np.ndarray
    """(n,) in 0..1."""
    boxes: np.ndarray
    """(n, 4) xyxy in pixels, x2 and y2 one past the last pixel; zeros for an empty mask."""
    masks: np.ndarray
    """(n, H, W) bool."""


class OneFormer:
    """An exported model.

    Args:
        folder: Has ``model.onnx`` and ``model.json``.
        providers: Of onnxruntime, such as ``['CUDAExecutionProvider']``; by default the CPU.
    """

    def __init__(self, folder: str | Path, providers: list[str] | None = None) -> None:
        import onnxruntime

        self.meta = json.loads((Path(folder) / 'model.json').read_text(encoding='utf-8'))
        graph = str(Path(folder) / 'model.onnx')
        self.session = onnxruntime.InferenceSession(graph, providers=providers or ['CPUExecutionProvider'])

    def __call__(self, rgb: np.ndarray, tasks: tuple[str, ...] = TASKS) -> dict[str, Any]:
        """Answer a photo (H, W, 3) uint8 RGB; 'semantic', 'instance' and 'panoptic' as the three functions below."""
        unknown = sorted(set(tasks) - set(TASKS))
        if unknown or not tasks:
            raise ValueError(f'tasks are some of {", ".join(TASKS)}, not {", ".join(unknown) or "none"}.')
        pixels, size = preprocess(rgb, self.meta)
        index = np.array([TASKS.index(task) for task in tasks], np.int64)
        class_logits, mask_logits = self.session.run(None, {'image': pixels, 'task': index})
        return {
            task: postprocess(task, class_logits[0, t], mask_logits[0, t], size, self.meta)
            for t, task in enumerate(tasks)
        }


def preprocess(rgb: np.ndarray, meta: dict[str, Any]) -> tuple[np.ndarray, Size]:
    """Resize a photo and pad it; the graph itself subtracts the mean and divides by the deviation.

    Args:
        rgb: (H, W, 3) uint8.
        meta: ``shortest_edge`` and ``max_size`` in pixels, ``divisor`` of the padded size; or ``fixed_size``.

    Returns:
        (1, 3, H', W') float32 RGB in 0..255, padded with the mean, and the sizes.

    Raises:
        ValueError: If it is no such photo.
    """
    from PIL import Image

    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or not rgb.size:
        raise ValueError(f'The photo has to be (H, W, 3) uint8 RGB, not {rgb.shape} {rgb.dtype}.')
    original = (rgb.shape[0], rgb.shape[1])
    fixed = meta.get('fixed_size')
    height, width = shortest_edge(original, meta['shortest_edge'], meta['max_size'])
    if fixed and (height > fixed[0] or width > fixed[1]):
        scale = min(fixed[0] / original[0], fixed[1] / original[1])
        height, width = max(int(original[0] * scale), 1), max(int(original[1] * scale), 1)
    resized = np.asarray(Image.fromarray(rgb).resize((width, height), Image.Resampling.BILINEAR))
    divisor = meta['divisor']
    padded = tuple(fixed) if fixed else (-(-height // divisor) * divisor, -(-width // divisor) * divisor)
    pixels = np.broadcast_to(np.array(meta['mean'], np.float32), (*padded, 3)).copy()
    pixels[:height, :width] = resized
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))[None], Size(padded, (height, width), original)


def shortest_edge(size: tuple[int, int], edge: int, max_size: int) -> tuple[int, int]:
    """New (height, width): the shorter side is ``edge``, unless the longer one would then pass ``max_size``."""
    height, width = size
    scale = edge / min(height, width)
    new_height, new_width = (edge, scale * width) if height < width else (scale * height, edge)
    longer = max(new_height, new_width)
    if longer > max_size:
        new_height, new_width = new_height * (max_size / longer), new_width * (max_size / longer)
    return max(int(new_height + 0.5), 1), max(int(new_width + 0.5), 1)


def postprocess(task: str, class_logits: np.ndarray, mask_logits: np.ndarray, size: Size, meta: dict[str, Any]) -> Any:
    """Turn class logits (N, K+1) and mask logits (N, h, w) of one photo into one task's answer."""
    if task == 'semantic':
        return semantic(class_logits, mask_logits, size)
    if task == 'instance':
        return instances(class_logits, mask_logits, size, meta['thing_ids'], meta['max_per_image'])
    return panoptic(class_logits, mask_logits, size, meta['thing_ids'], meta['object_mask_thr'], meta['overlap_thr'])


def semantic(class_logits: np.ndarray, mask_logits: np.ndarray, size: Size) -> np.ndarray:
    """Class index of every pixel, (H, W) int64: the largest sum of class probability times mask probability."""
    probs = softmax(class_logits)[:, :-1]
    rows, columns = resize_matrices(mask_logits.shape[1:], size)
    height, width = size.original
    labels = np.empty((height, width), np.int64)
    wide = mask_logits @ columns.T  # (N, h, W)
    step = max(1, STRIP_ELEMENTS // (width * max(probs.shape)))
    for start in range(0, height, step):
        strip = sigmoid(np.matmul(rows[start : start + step], wide))  # (N, n, W)
        labels[start : start + step] = np.tensordot(probs, strip, (0, 0)).argmax(0)
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
    masks = np.empty((len(unique), *size.original), bool)
    quality = np.empty(len(unique), np.float32)
    for k, logits in enumerate(resized(mask_logits[unique], size)):
        np.greater(logits, 0, out=masks[k])
        quality[k] = sigmoid(logits[masks[k]]).sum(dtype=np.float64) / (masks[k].sum() + 1e-6)
    scores = scores * quality[inverse]
    rank = np.argsort(-scores, kind='stable')
    inverse = inverse[rank]
    boxes = np.array([box(mask) for mask in masks], np.float32).reshape(-1, 4)
    return Instances(labels[rank], scores[rank], boxes[inverse], masks[inverse])


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
        Ids (H, W) int32, class + 1000 * k and K for void, and ``dict(id, category_id, isthing, score)`` a segment.
    """
    probs = softmax(class_logits)
    num_classes = probs.shape[1] - 1
    scores, labels = probs.max(1), probs.argmax(1)
    kept = np.flatnonzero((labels != num_classes) & (scores > object_mask_thr))
    ids = np.full(size.original, num_classes, np.int32)
    best, winner = np.full(size.original, -1, np.float32), np.zeros(size.original, np.int32)
    inside, own_area = np.zeros(size.original, bool), []
    for k, logits in enumerate(resized(mask_logits[kept], size)):
        mask_probs = sigmoid(logits)
        own = mask_probs >= 0.5
        own_area.append(int(own.sum()))
        value = scores[kept[k]] * mask_probs
        better = value > best
        best[better], winner[better], inside[better] = value[better], k, own[better]
    won_area = np.bincount(winner.ravel(), minlength=len(kept))
    final_area = np.bincount(winner[inside], minlength=len(kept))
    segments: list[dict[str, Any]] = []
    count: dict[int, int] = {}
    for k, query in enumerate(kept.tolist()):
        label = int(labels[query])
        if not (won_area[k] and own_area[k] and final_area[k]) or won_area[k] / own_area[k] < overlap_thr:
            continue
        is_thing = label in thing_ids
        is_new = is_thing or label not in count
        count[label] = count.get(label, 0) + is_new
        segment_id = label + INSTANCE_OFFSET * count[label]
        ids[inside & (winner == k)] = segment_id
        if is_new:
            score = float(scores[query])
            segments.append({'id': segment_id, 'category_id': label, 'isthing': is_thing, 'score': score})
    return ids, segments


def resized(mask_logits: np.ndarray, size: Size) -> Any:
    """Yield the logits (H, W) of each mask at the original size."""
    rows, columns = resize_matrices(mask_logits.shape[1:], size)
    for logits in mask_logits:
        yield rows @ (logits @ columns.T)


def resize_matrices(low: tuple[int, ...], size: Size) -> tuple[np.ndarray, np.ndarray]:
    """Matrices (H, h) and (W, w): bilinear to the padded size, crop, bilinear to the original size, along each axis."""
    return tuple(  # type: ignore[return-value]
        linear_matrix(size.image[axis], size.original[axis])
        @ linear_matrix(low[axis], size.padded[axis])[: size.image[axis]]
        for axis in (0, 1)
    )


def linear_matrix(before: int, after: int) -> np.ndarray:
    """Matrix (after, before) of linear resizing with pixel centres at (i + 0.5) / n, without antialiasing."""
    position = np.maximum((np.arange(after) + 0.5) * (before / after) - 0.5, 0)
    low = np.minimum(position.astype(np.int64), before - 1)
    high = np.minimum(low + 1, before - 1)
    part = (position - low).astype(np.float32)
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
    """1 / (1 + exp(-x)), without overflow."""
    return 0.5 * (1 + np.tanh(0.5 * logits))


def describe(answers: dict[str, Any], meta: dict[str, Any]) -> str:
    """What is in a photo, a line for each task."""
    names, lines = meta['classes'], []
    for task, answer in answers.items():
        if task == 'semantic':
            found = [f'{names[k]} {(answer == k).mean():.0%}' for k in np.unique(answer).tolist()]
        elif task == 'instance':
            pairs = zip(answer.labels.tolist(), answer.scores.tolist())
            found = [f'{names[label]} {score:.2f}' for label, score in pairs if score >= 0.5]
        else:
            found = [f'{names[one["category_id"]]} {one["score"]:.2f}' for one in answer[1]]
        lines.append(f'{task}: {", ".join(found) or "nothing"}')
    return '\n'.join(lines)


if __name__ == '__main__':
    from PIL import Image, ImageOps

    if len(sys.argv) < 2:
        sys.exit('usage: python oneformer_numpy.py PHOTO [TASK ...]')
    model = OneFormer(Path(__file__).parent)
    with Image.open(sys.argv[1]) as file:
        photo = np.asarray(ImageOps.exif_transpose(file).convert('RGB'))
    print(describe(model(photo, tuple(sys.argv[2:]) or TASKS), model.meta))
