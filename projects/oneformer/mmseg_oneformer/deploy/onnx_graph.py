"""ONNX: one file with the task as an input, for onnxruntime and everything else that reads ONNX."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from torch.export import Dim, ExportedProgram

from ..files import atomic_path, write_atomic
from . import oneformer_numpy
from .graph import OneFormerGraph, example_inputs

__all__ = ['deployment_meta', 'export_onnx', 'trace']

LARGEST = 64
"""Largest side of a dynamic graph, in units of 32 pixels."""


def trace(graph: OneFormerGraph, size: tuple[int, int], dynamic: bool) -> ExportedProgram:
    """Trace the graph.

    Args:
        graph: On the CPU, in evaluation mode.
        size: Height and width of the example, or of all images if the graph is not dynamic.
        dynamic: Whether batch, height, width (multiples of 32) and number of tasks are free.

    Raises:
        ValueError: If the backbone cannot be traced.
    """
    batch, tasks = (2, 2) if dynamic else (1, 3)
    shapes = None
    if dynamic:
        sides = {2: 32 * Dim('height_32nds', min=2, max=LARGEST), 3: 32 * Dim('width_32nds', min=2, max=LARGEST)}
        shapes = ({0: Dim('batch', min=1, max=64), **sides}, {0: Dim('tasks', min=1, max=3)})
    try:
        return torch.export.export(graph, example_inputs(size, batch, tasks), dynamic_shapes=shapes, strict=False)
    except Exception as error:
        reason = str(error).strip().splitlines()[0]
        cure = 'export it with --size HEIGHT WIDTH' if dynamic else 'use Swin, ResNet or ConvNeXt'
        raise ValueError(
            f'{type(graph.backbone).__name__} cannot be exported {"at any size" if dynamic else "at all"} ({reason}); '
            f'{cure}.'
        ) from error


def export_onnx(model: BaseModel, meta: dict[str, Any], folder: Path, size: tuple[int, int], dynamic: bool) -> None:
    """Write ``model.onnx``, ``model.json`` and a copy of ``oneformer_numpy.py`` into a folder.

    Args:
        model: A ``OneFormer`` on the CPU, in evaluation mode.
        meta: Of :func:`deployment_meta`.
        folder: Where to; made if missing.
        size: As for :func:`trace`.
        dynamic: As for :func:`trace`.

    Raises:
        ValueError: If the backbone cannot be traced, or onnx and onnxscript are not installed.
    """
    try:
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ValueError(f'{error.name} is not installed; run: pip install onnx onnxscript onnxruntime') from error
    program = trace(OneFormerGraph(model).eval(), size, dynamic)
    exported = torch.onnx.export(
        program,
        dynamo=True,
        verbose=False,
        input_names=['image', 'task'],
        output_names=['class_logits', 'mask_logits'],
    )
    assert exported is not None
    with atomic_path(folder / 'model.onnx') as path:
        exported.save(path, external_data=False)
    write_atomic(folder / 'model.json', json.dumps(meta, indent=2))
    with atomic_path(folder / 'oneformer_numpy.py') as path:
        shutil.copyfile(oneformer_numpy.__file__, path)


def deployment_meta(
    cfg: Config, model: BaseModel, dataset_meta: dict[str, Any], fixed_size: Sequence[int] | None
) -> dict[str, Any]:
    """Return what the graph does not say: names, sizes, thresholds.

    Args:
        cfg: Of the model; its test pipeline has to resize by ``ShortestEdge``.
        model: The model.
        dataset_meta: ``classes`` and ``thing_ids``.
        fixed_size: Height and width, if the graph has only one size.

    Raises:
        ValueError: If the photos are not resized by ``ShortestEdge``.
    """
    steps = [step for step in cfg.test_dataloader.dataset.pipeline if step.type == 'ShortestEdge']
    if len(steps) != 1:
        raise ValueError('The test pipeline has to resize by one ShortestEdge, for its sizes go with the graph.')
    return {
        'classes': list(dataset_meta['classes']),
        'thing_ids': list(model.thing_ids),
        'mean': model.data_preprocessor.mean.flatten().tolist(),
        'shortest_edge': steps[0].size,
        'max_size': steps[0].max_size,
        'divisor': 32,
        'fixed_size': None if fixed_size is None else list(fixed_size),
        'object_mask_thr': model.test_cfg.object_mask_thr,
        'overlap_thr': model.test_cfg.overlap_thr,
        'max_per_image': model.test_cfg.max_per_image,
    }
