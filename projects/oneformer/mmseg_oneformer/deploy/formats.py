"""Folders of an exported model: a graph, ``model.json`` and the Python file that predicts with both.

Every file is written whole or not at all, and ``model.json`` last: a folder that has one is complete.
"""

import importlib.util
import io
import json
import logging
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from torch.export import ExportedProgram

from ..errors import UserError
from ..files import atomic_path, write_atomic
from . import oneformer_numpy
from .graph import DIVISOR, LEAST_SIDE, OneFormerGraph, trace

__all__ = ['FORMATS', 'check_format', 'deployment_meta', 'write_folder']


AXES = (
    ('batch', '', 'height', 'width'),
    ('tasks',),
    ('batch', 'tasks', '', ''),
    ('batch', 'tasks', '', 'height/4', 'width/4'),
)
"""Names of the axes of the graph's inputs and outputs, where they are dynamic."""

LARGEST_ONNX = 2**31
"""Bytes: an ONNX file is one protobuf message, which must be smaller."""


def _write_onnx(program: ExportedProgram, path: Path) -> None:
    weights = sum(tensor.nbytes for tensor in program.state_dict.values())
    if weights > 0.99 * LARGEST_ONNX:  # Leaves room for the graph.
        raise UserError(
            f'The weights take {weights / 2**30:.1f} GiB, but an ONNX file holds less than 2; use --format torch.'
        )
    logging.getLogger('onnxscript').setLevel(logging.ERROR)  # It warns about each constant that it leaves as it is.
    exported = torch.onnx.export(
        program,
        dynamo=True,
        verbose=False,
        input_names=['image', 'task'],
        output_names=['class_logits', 'mask_logits'],
    )
    assert exported is not None
    proto = exported.model_proto
    # The exporter's assumptions about shapes inside: it gives one name to different sizes, and onnxruntime warns.
    del proto.graph.value_info[:]
    for value, names in zip((*proto.graph.input, *proto.graph.output), AXES, strict=True):
        for axis, name in zip(value.type.tensor_type.shape.dim, names):
            if axis.dim_param:
                axis.dim_param = name
    path.write_bytes(proto.SerializeToString())


def _write_program(program: ExportedProgram, path: Path) -> None:
    program.example_inputs = None  # Noise, and megabytes of it.
    archive = io.BytesIO()  # PyTorch would name the archive's folders after the path, and crash on a full disk.
    torch.export.save(program, archive)
    path.write_bytes(archive.getbuffer())


def _write_compiled(program: ExportedProgram, path: Path) -> None:
    torch._inductor.aoti_compile_and_package(program, package_path=str(path))


FORMATS: dict[str, Callable[[ExportedProgram, Path], None]] = {
    'onnx': _write_onnx,
    'torch': _write_program,
    'aotinductor': _write_compiled,
}
"""Forms in which a graph can be written: for onnxruntime; for ``torch.export.load``; compiled, for one device type."""


def check_format(name: str, device: torch.device, verified: bool = False) -> None:
    """Raise a UserError that states what to install if a format cannot be written, or ``verified``, here."""
    if name == 'onnx':
        for package in ('onnx', 'onnxscript', *(['onnxruntime'] if verified else [])):
            if importlib.util.find_spec(package) is None:
                raise UserError(f"{package} is not installed; run: pip install -e '.[export]'")
    if name == 'onnx' and device.type != 'cpu':
        raise UserError('An ONNX graph is written on the CPU and runs on any device; leave out --device.')
    if name == 'aotinductor':
        from torch._inductor.cpp_builder import get_cpp_compiler
        from torch._inductor.exc import InvalidCxxCompiler

        try:
            get_cpp_compiler()
        except InvalidCxxCompiler as error:
            raise UserError(
                'There is no C++ compiler, which AOTInductor needs; install g++, or use --format torch.'
            ) from error


def write_folder(
    name: str,
    model: BaseModel,
    meta: dict[str, Any],
    folder: Path,
    size: tuple[int, int] | None = None,
    report: Callable[[str], None] = lambda step: None,
) -> None:
    """Write the graph, ``oneformer_numpy.py`` and ``model.json`` into a folder, which is created if missing.

    Args:
        name: One of ``FORMATS``.
        model: A ``OneFormer`` in evaluation mode; a compiled graph is for its device.
        meta: From :func:`deployment_meta`.
        folder: Output folder.
        size: As for :func:`trace`.
        report: Called with a name of each step before it starts; a step may take minutes.

    Raises:
        UserError: If the backbone cannot be traced, or the folder cannot be written.
    """
    report('tracing the network')
    program = trace(OneFormerGraph(model).eval(), size)
    device = str(model.data_preprocessor.mean.device)
    report(f'writing {oneformer_numpy.GRAPHS[name]}')
    try:
        with atomic_path(folder / oneformer_numpy.GRAPHS[name]) as path:
            FORMATS[name](program, path)
            (folder / 'model.json').unlink(missing_ok=True)  # That of an older graph.
        with atomic_path(folder / 'oneformer_numpy.py') as path:
            shutil.copyfile(oneformer_numpy.__file__, path)
        write_atomic(folder / 'model.json', json.dumps({'format': name, 'device': device, **meta}, indent=2) + '\n')
    except OSError as error:
        raise UserError(f'{folder} cannot be written ({error.strerror}); make room or choose another place.') from error
    except RuntimeError as error:  # Of PyTorch's exporters and compilers.
        reason = str(error).strip().partition('\n')[0].rstrip('.')
        raise UserError(f'The graph cannot be written as {name} ({reason}); choose another --format.') from error


def deployment_meta(
    cfg: Config, model: BaseModel, dataset_meta: dict[str, Any], size: Sequence[int] | None = None
) -> dict[str, Any]:
    """Return what the graph does not contain: names, sizes, thresholds.

    Args:
        cfg: Config of the model; its test pipeline must resize by ``ShortestEdge``.
        model: The model.
        dataset_meta: ``classes`` and ``thing_ids``.
        size: Height and width, if the graph has only one.

    Raises:
        UserError: If the photos are not resized by ``ShortestEdge``.
    """
    steps = [step for step in cfg.test_dataloader.dataset.pipeline if step.type == 'ShortestEdge']
    if len(steps) != 1:
        raise UserError('The test pipeline must resize by one ShortestEdge, whose sizes go with the graph.')
    return {
        'model': Path(cfg.filename).stem if cfg.filename else '',
        'classes': list(dataset_meta['classes']),
        'thing_ids': list(model.thing_ids),
        'mean': model.data_preprocessor.mean.flatten().tolist(),
        'bits': cfg.test_dataloader.dataset.pipeline[0].get('bits'),
        'shortest_edge': steps[0].size,
        'max_size': steps[0].max_size,
        'divisor': DIVISOR,
        'least_side': LEAST_SIDE,
        'fixed_size': None if size is None else list(size),
        'object_mask_thr': model.test_cfg.object_mask_thr,
        'overlap_thr': model.test_cfg.overlap_thr,
        'max_per_image': model.test_cfg.max_per_image,
    }
