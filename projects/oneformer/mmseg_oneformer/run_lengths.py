"""Masks as COCO's run-length codes: the instances of a 12-megapixel photo in kilobytes instead of gigabytes."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from pycocotools import mask as mask_api
from torch import Tensor

__all__ = ['decode_mask', 'encode_masks']


def encode_masks(masks: Tensor | np.ndarray) -> list[dict]:
    """Return the COCO run-length codes of masks (n, H, W), bool, one after the other to stay small in memory.

    pycocotools wants columns one after the other. torch transposes blockwise, on the device of the masks; numpy's own
    conversion to that order takes ten times as long as the encoding (12 of 12.6 ms at 1024 x 2048).
    """
    columns_first = (mask.t().contiguous().cpu().numpy() for mask in torch.as_tensor(masks).bool())
    return [mask_api.encode(columns.view(np.uint8).T) for columns in columns_first]


def decode_mask(mask: Tensor | np.ndarray | Mapping[str, Any]) -> np.ndarray:
    """Return one mask of either form, dense (H, W) or a run-length code, as an array (H, W) bool."""
    if isinstance(mask, Mapping):
        return mask_api.decode(dict(mask)).view(bool)
    return np.asarray(mask.cpu() if isinstance(mask, Tensor) else mask, dtype=bool)
