"""The model that a command line names."""

import argparse

import numpy as np
import torch

from ..apis.inferencer import OneFormerInferencer
from ..memory import keep_freed_memory

__all__ = ['load_model', 'warm_up']


def load_model(args: argparse.Namespace) -> OneFormerInferencer:
    """Load the model of ``--model`` and ``add_model_arguments``; errors as for :class:`OneFormerInferencer`."""
    if not torch.cuda.is_available():
        keep_freed_memory()
    return OneFormerInferencer(
        args.model, args.weights, args.device, args.cfg_options, dtype=args.dtype, compile=args.compile
    )


def warm_up(infer: OneFormerInferencer) -> None:
    """Predict for a blank picture, so that faults of model and device show now and the first photo need not wait."""
    (blank,) = infer.logits([infer.prepare(np.zeros((480, 640, 3), np.uint8))])
    blank.predict()
