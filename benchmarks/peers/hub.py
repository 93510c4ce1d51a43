"""OneFormer from Hugging Face's transformers, with our weights: network and post-processing are its own."""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from torch import Tensor

from mmseg_oneformer.checkpoints.backbone_names import backbone_of, tensors_of_backbone
from mmseg_oneformer.checkpoints.conversion.convert import from_ours
from mmseg_oneformer.checkpoints.conversion.hub import file_name
from mmseg_oneformer.checkpoints.conversion.hub_config import CLASS_INFO, class_info, model_config
from mmseg_oneformer.datasets.transforms.targets import target_masks
from mmseg_oneformer.errors import MissingPackageError, UserError
from mmseg_oneformer.models.text_mapper import TextList, tokenize
from mmseg_oneformer.tasks import CONTEXT_LENGTH, PROMPT_TOKENS

from ..batches import to_device, training_batch
from ..models import Setting, class_names
from ..sides import Logits, Side
from ..steps import Trainee


def build_transformers(cfg: Config, ours: Any) -> Any:
    """Build the port with the weights of ``ours``, including the text branch if ours has one.

    Raises:
        ImportError: transformers is not installed.
        UserError: It cannot express the model.
    """
    try:
        import transformers
    except ImportError as error:
        raise MissingPackageError('--against transformers needs transformers; install it with pip.') from error
    state = ours.state_dict()
    try:
        settings = model_config(state, cfg, class_names(cfg))
    except ValueError as error:
        reason = str(error).partition(';')[0]
        raise UserError(f'--against transformers cannot measure this model ({reason}); choose another.') from error
    model = transformers.OneFormerForUniversalSegmentation(transformers.OneFormerConfig(**settings))
    converted = from_ours(state, 'hf').state
    # Its modules may spell the name of a tensor differently from its files.
    names = backbone_of(tensors_of_backbone(state))
    model.load_state_dict({key: converted[file_name(key, names)] for key in model.state_dict()})
    return model


def image_processor(cfg: Config) -> Any:
    """Return its image processor, which has the post-processing; the classes come from a local file."""
    from transformers import OneFormerImageProcessor

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / CLASS_INFO).write_text(json.dumps(class_info(class_names(cfg), cfg.model.thing_ids)))
        return OneFormerImageProcessor(
            repo_path=folder, class_info_file=CLASS_INFO, num_text=1, num_labels=cfg.model.head.num_classes
        )


def task_inputs(tasks: Sequence[str], device: torch.device) -> Tensor:
    """Return the token ids (len(tasks), 77) of the prompts."""
    ids = torch.zeros(len(tasks), CONTEXT_LENGTH, dtype=torch.int64)
    for row, task in zip(ids, tasks):
        row[: len(PROMPT_TOKENS[task])] = torch.tensor(PROMPT_TOKENS[task])
    return ids.to(device)


def transformers_side(cfg: Config, ours: Any, size: tuple[int, int]) -> Side:
    """Return it as a side of inference, used as its documentation shows: the network once for each task."""
    device = next(ours.parameters()).device
    model, processor = build_transformers(cfg, ours).to(device).eval(), image_processor(cfg)
    stuff = set(range(cfg.model.head.num_classes)) - set(cfg.model.thing_ids)

    def network(images: Tensor, tasks: Sequence[str]) -> list[list[Logits]]:
        outputs = [model(pixel_values=images, task_inputs=task_inputs([task] * len(images), device)) for task in tasks]
        return [
            [Logits(output.class_queries_logits[b], output.masks_queries_logits[b]) for output in outputs]
            for b in range(len(images))
        ]

    def predict(task: str, logits: Logits) -> object:
        output = SimpleNamespace(class_queries_logits=logits.classes[None], masks_queries_logits=logits.masks[None])
        if task == 'semantic':
            return processor.post_process_semantic_segmentation(output, target_sizes=[size])[0]
        if task == 'instance':
            return processor.post_process_instance_segmentation(output, target_sizes=[size])[0]
        return processor.post_process_panoptic_segmentation(output, label_ids_to_fuse=stuff, target_sizes=[size])[0]

    return Side('transformers', network, predict)


def transformers_trainee(cfg: Config, ours: Any, setting: Setting, device: str) -> Trainee:
    """Return it as a side of training, with the optimiser of ``cfg``, the same targets and the full text lists."""
    model = build_transformers(cfg, ours).to(device).train()
    batch = to_device(training_batch(cfg, setting), device)
    samples = batch['data_samples']
    inputs = {
        'pixel_values': ours.data_preprocessor(batch, True)['inputs'],
        'task_inputs': task_inputs([sample.task for sample in samples], torch.device(device)),
        'text_inputs': torch.stack([text_inputs(sample, ours.text_mapper.num_texts) for sample in samples]).to(device),
        'mask_labels': [target_masks(s.gt_targets.index_map, len(s.gt_instances.labels)).float() for s in samples],
        'class_labels': [sample.gt_instances.labels for sample in samples],
    }
    return Trainee(lambda part: model(**inputs).loss.sum(), build_optim_wrapper(model, cfg.optim_wrapper))


def text_inputs(sample: DetDataSample, length: int) -> Tensor:
    """Return the token ids (length, 77) of a sample's text list."""
    texts = TextList(sample.texts, sample.text_counts, sample.filler).expand(length)
    ids = torch.zeros(length, CONTEXT_LENGTH, dtype=torch.int64)
    for row, text in zip(ids, texts):
        tokens = tokenize(text)
        row[: len(tokens)] = torch.tensor(tokens)
    return ids
