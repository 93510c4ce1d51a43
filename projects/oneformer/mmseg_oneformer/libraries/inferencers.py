"""Patches for the inference classes of mmengine and mmdet, so that they work with our models.

Decisions:
* A patch is applied when its module has been imported (``startup.AFTER``), so it makes no difference whether the
  library or this package is imported first.
* A patch changes nothing for other models: each handles only what the library fails at. One exception: weights given
  without a config build a OneFormer or nothing, since the library would run whatever the config in them names.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.runner.checkpoint import CheckpointLoader

from ..datasets.transforms.photo import LoadPhoto, build_loader
from ..errors import UserError
from ..photos.arrays import array_to_bgr, check_array
from ..run_lengths import decode_mask
from ..zoo.model_file import KEY, checked_config
from .named_models import PREFIX, is_our_name, read_named_config


def patch_base_inferencer(module: Any) -> None:
    """Let ``DetInferencer`` and ``MMSegInferencer`` take our models by name, and safely take weights without a config.

    By themselves, they run the config text stored in such weights, and build whatever it names, even ``os.system``.
    """
    inferencer = module.BaseInferencer
    look_up, init_model = inferencer._load_model_from_metafile, inferencer._init_model

    def load_model_from_metafile(self: Any, model: str) -> tuple[Any, str]:
        if not is_our_name(model):
            return look_up(self, model)
        # An address, not a file: nothing is downloaded if the caller gives the weights.
        return read_named_config(model), f'{PREFIX}{model}'

    def _init_model(self: Any, cfg: Any, weights: str | None, *args: Any, **kwargs: Any) -> Any:
        if not cfg and weights is not None:
            cfg.update(read_stored_config(weights)._cfg_dict)
        return init_model(self, cfg, weights, *args, **kwargs)

    inferencer._load_model_from_metafile, inferencer._init_model = load_model_from_metafile, _init_model


def read_stored_config(weights: str) -> Config:
    """Return what inference needs of the config stored in weights, for the inferencers of mmdet and mmseg.

    Args:
        weights: File or address of a checkpoint of mmengine's Runner, or of a whole model.

    Raises:
        UserError: If there is none, or it is more than the settings of a OneFormer.
    """
    checkpoint = CheckpointLoader.load_checkpoint(weights, 'cpu')
    hub = checkpoint.get('message_hub')
    infos = [hub.get('runtime_info') if isinstance(hub, dict) else None, checkpoint['meta']]
    found = (info.get(key) for info in infos if isinstance(info, dict) for key in ('cfg', KEY))
    text = next((text for text in found if isinstance(text, str)), None)
    if text is None:
        raise UserError(f'{weights} holds no config; give the name or config of its model, and the file as weights.')
    cfg = checked_config(text, weights)
    # mmdet needs only the colours of the data set, and the checkpoint has those.
    cfg.test_dataloader.dataset.update(type='mmdet.BaseDetDataset', ann_file='')
    cfg.visualizer = {'type': 'OneFormerVisualizer', 'name': 'visualizer'}
    return cfg


def patch_det_inferencer(module: Any) -> None:
    """Let mmdet's ``DetInferencer`` make panoptic predictions without panopticapi, and return run-length codes.

    It reads photos as we do, and saves predictions for arrays, which have no path.
    """
    read_as_we_do(module, module.DetInferencer)
    if module.id2rgb is None:
        module.id2rgb, module.VOID = ids_to_rgb, 0
    encode, to_dict = module.encode_mask_results, module.DetInferencer.pred2dict

    def encode_mask_results(masks: Sequence[Any]) -> list[dict]:
        return [dict(mask) if isinstance(mask, Mapping) else encode([mask])[0] for mask in masks]

    def pred2dict(self: Any, data_sample: Any, *args: Any, **kwargs: Any) -> dict:
        if data_sample.get('img_path', '') is None:  # mmdet takes the name of the file from it.
            data_sample = data_sample.clone()
            del data_sample.img_path
        found = data_sample.get('pred_instances')
        # If all boxes are zero, mmdet computes them from the masks, which it expects to be a tensor.
        if found is not None and isinstance(found.get('masks'), list) and not found.bboxes.any():
            found.masks = dense_masks(found.masks, data_sample.ori_shape[:2])
        return to_dict(self, data_sample, *args, **kwargs)

    module.encode_mask_results, module.DetInferencer.pred2dict = encode_mask_results, pred2dict


def patch_seg_inferencer(module: Any) -> None:
    """Let mmseg's ``MMSegInferencer`` read photos as we do."""
    read_as_we_do(module, module.MMSegInferencer)


def read_as_we_do(module: Any, inferencer: Any) -> None:
    """Let an inferencer of a library use the loader of our configs, for files and arrays and the photos it draws on.

    Its own does not turn every photo that says it is turned, fails at grey arrays, and takes any values for pixels.

    Args:
        module: The inferencer's.
        inferencer: The class.
    """
    init_pipeline, to_list, visualize = inferencer._init_pipeline, inferencer._inputs_to_list, inferencer.visualize

    def _init_pipeline(self: Any, cfg: Any) -> Any:
        steps = cfg.test_dataloader.dataset.pipeline
        first, last = steps[0], str(steps[-1]['type'])
        is_ours = str(first['type']).endswith('LoadPhoto') or last.endswith('PackOneFormerInputs')
        loader = build_loader(first) if is_ours else None
        if not isinstance(loader, LoadPhoto):
            return init_pipeline(self, cfg)
        steps[0] = type(first)(type='LoadImageFromFile')  # What it looks for, to put a loader of its own there.
        try:
            pipeline = init_pipeline(self, cfg)
        finally:
            steps[0] = first
        pipeline.transforms[0] = loader
        return pipeline

    def _inputs_to_list(self: Any, inputs: Any) -> list[Any]:
        given, loader = to_list(self, inputs), _loader(self)
        return given if loader is None else [_as_pixels(one, loader) for one in given]

    def draw(self: Any, *args: Any, **kwargs: Any) -> Any:
        loader = _loader(self)
        if loader is None:
            return visualize(self, *args, **kwargs)
        library, module.mmcv = module.mmcv, _WithLoader(module.mmcv, loader)
        try:
            return visualize(self, *args, **kwargs)
        finally:
            module.mmcv = library

    inferencer._init_pipeline, inferencer._inputs_to_list, inferencer.visualize = _init_pipeline, _inputs_to_list, draw


class _WithLoader:
    """The module ``mmcv``, which decodes photos by a loader of ours."""

    def __init__(self, library: Any, loader: LoadPhoto) -> None:
        self._library, self._loader = library, loader

    def __getattr__(self, name: str) -> Any:
        return getattr(self._library, name)

    def imfrombytes(self, content: bytes) -> np.ndarray:
        return self._loader.decode(content, 'to be drawn on')


def _loader(inferencer: Any) -> LoadPhoto | None:
    first = inferencer.pipeline.transforms[0]
    return first if isinstance(first, LoadPhoto) else None


def _as_pixels(given: Any, loader: LoadPhoto) -> Any:
    """Return an array in BGR or grey, or the bytes of a file, as (H, W, 3) uint8 BGR; a path as it is."""
    if isinstance(given, np.ndarray):
        check_array(given, 'bgr')
        return array_to_bgr(given, 'bgr')
    if isinstance(given, bytes | bytearray | memoryview):
        return loader.decode(bytes(given), 'of these bytes')
    if not isinstance(given, str | os.PathLike | Mapping):
        raise UserError(f'{type(given).__name__} is not an input; give paths, bytes or uint8 arrays.')
    return given


def patch_det_visualizer(module: Any) -> None:
    """Let mmdet's ``DetLocalVisualizer`` draw a panoptic prediction without segments, and run-length codes."""
    visualizer = module.DetLocalVisualizer
    draw_instances, draw_panoptic = visualizer._draw_instances, visualizer._draw_panoptic_seg

    def _draw_instances(self: Any, image: np.ndarray, instances: Any, *args: Any) -> np.ndarray:
        if isinstance(instances.get('masks'), list):
            instances = instances.clone()
            instances.masks = dense_masks(instances.masks, image.shape[:2])
        return draw_instances(self, image, instances, *args)

    def _draw_panoptic_seg(self: Any, image: np.ndarray, panoptic_seg: Any, classes: Any, palette: Any) -> np.ndarray:
        if (panoptic_seg.sem_seg == len(classes)).all():  # Void everywhere.
            return image
        return draw_panoptic(self, image, panoptic_seg, classes, palette)

    visualizer._draw_instances, visualizer._draw_panoptic_seg = _draw_instances, _draw_panoptic_seg


def ids_to_rgb(ids: np.ndarray) -> np.ndarray:
    """Return ids (H, W) as an image (H, W, 3) uint8 with id = R + 256 G + 65536 B, as in COCO's PNGs."""
    return np.stack([ids & 255, ids >> 8 & 255, ids >> 16 & 255], axis=-1).astype(np.uint8)


def dense_masks(codes: Sequence[Mapping[str, Any]], size: Sequence[int]) -> torch.Tensor:
    """Return run-length codes of an image of ``size`` (H, W) as masks (n, H, W) bool."""
    masks = [torch.from_numpy(decode_mask(code)) for code in codes]
    return torch.stack(masks) if masks else torch.zeros((0, *size), dtype=torch.bool)
