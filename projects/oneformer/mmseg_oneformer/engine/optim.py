"""AdamW's learning rate and weight decay for each parameter, and mixed precision without a GPU.

The published models were trained with one learning rate for everything but the backbone (a tenth of it), and without
weight decay on norms, embeddings and the position tables. All other parameters decay, including raw ones
(``level_embed`` of the pixel decoder, the text encoder's positions, the contrastive temperature, DiNAT's bias tables)
and biases; so do all norms of ConvNeXt, whose authors wrote a class of their own (``backbone_norm_decay``). A
backbone exempts raw parameters with ``no_weight_decay()``; for a library's class, the entry of its weight names lists
them. mmengine's ``paramwise_cfg`` cannot express this: a ``custom_keys`` entry for the backbone switches off the rule
for norms there, and keys match by substring.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS, OPTIMIZERS
from torch import nn

from ..checkpoints.backbone_names import backbone_of
from ..checkpoints.conversion.keys import keys_like
from ..errors import UserError

NORMS = (
    nn.modules.batchnorm._NormBase,  # BatchNorm1d to 3d, SyncBatchNorm, InstanceNorm
    nn.GroupNorm,
    nn.LayerNorm,
    nn.LocalResponseNorm,
)


def parameter_groups(
    model: nn.Module,
    lr: float,
    weight_decay: float,
    backbone_multiplier: float = 0.1,
    backbone_norm_decay: bool = False,
) -> list[dict[str, Any]]:
    """Group the trainable parameters by (learning rate, decay), at most four groups.

    Args:
        model: The model, without a distributed wrapper; parameters under an attribute ``backbone`` are the backbone's.
        lr: Base learning rate.
        weight_decay: Weight decay of parameters that decay.
        backbone_multiplier: Factor on the backbone's learning rate.
        backbone_norm_decay: Whether the backbone's norms decay like its other parameters (ConvNeXt).

    Returns:
        Parameter groups for an optimiser: 'params', 'names' (in the same order), 'lr', 'weight_decay'. The first one
        has the base rate, which is the one logged.
    """
    groups: dict[tuple[bool, bool], dict[str, Any]] = {}
    seen: set[int] = set()
    exempt = _without_decay(model)
    for module_name, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad or id(parameter) in seen:
                continue
            seen.add(id(parameter))
            full_name = f'{module_name}.{name}' if module_name else name
            in_backbone = 'backbone' in full_name.split('.')
            if isinstance(module, NORMS):
                decays = in_backbone and backbone_norm_decay
            else:
                decays = not isinstance(module, nn.Embedding) and id(parameter) not in exempt
            group = groups.setdefault(
                (in_backbone, decays),
                {
                    'params': [],
                    'names': [],
                    'lr': lr * backbone_multiplier if in_backbone else lr,
                    'weight_decay': weight_decay if decays else 0.0,
                },
            )
            group['params'].append(parameter)
            group['names'].append(full_name)
    trainable = {id(parameter) for parameter in model.parameters() if parameter.requires_grad}
    assert seen == trainable, 'every trainable parameter has to be in exactly one group'
    return [groups[key] for key in sorted(groups)]


def _without_decay(model: nn.Module) -> set[int]:
    """Return the ids of the raw parameters that backbones exempt.

    ``no_weight_decay()``, which any module may have, follows timm and BEiT: it returns names relative to the module.
    """
    exempt: set[int] = set()
    for path, module in model.named_modules():
        if 'backbone' not in path.split('.'):
            continue  # open_clip's text encoder has the method too, and all of the published models' decays
        own = dict(module.named_parameters())
        names = set(module.no_weight_decay()) if hasattr(module, 'no_weight_decay') else set()
        if path.split('.')[-1] == 'backbone':
            names |= {key for name in backbone_of(own).no_decay for key in keys_like(own, name)}
        exempt |= {id(own[name]) for name in names & own.keys()}
    return exempt


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class OneFormerOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """Builds the optimiser with the parameter groups of the published training.

    ``paramwise_cfg`` takes ``backbone_multiplier`` (default 0.1) and ``backbone_norm_decay`` (default False); learning
    rate and weight decay are those of ``optim_wrapper.optimizer``.
    """

    def _validate_cfg(self) -> None:
        unknown = sorted(set(self.paramwise_cfg) - {'backbone_multiplier', 'backbone_norm_decay'})
        if unknown:
            raise UserError(
                f'optim_wrapper.paramwise_cfg has no key "{unknown[0]}" with this constructor; it takes '
                'backbone_multiplier and backbone_norm_decay, and decay follows from the type of the module.'
            )
        if not all(isinstance(number, int | float) for number in (self.base_lr, self.base_wd)):
            raise UserError('optim_wrapper.optimizer needs both lr and weight_decay, as numbers.')

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Return the optimiser wrapper for ``model``, which may be wrapped for distributed training."""
        groups = parameter_groups(getattr(model, 'module', model), self.base_lr, self.base_wd, **self.paramwise_cfg)
        # Names would be stored in every checkpoint; torch's newer optimisers also reject unknown lists.
        params = [{key: value for key, value in group.items() if key != 'names'} for group in groups]
        optimizer = OPTIMIZERS.build(self.optimizer_cfg, default_args={'params': params})
        wrapper = {'type': 'OptimWrapper', **self.optim_wrapper_cfg}
        return OPTIM_WRAPPERS.build(wrapper, default_args={'optimizer': optimizer})


@OPTIM_WRAPPERS.register_module()
class CpuAmpOptimWrapper(OptimWrapper):
    """Mixed precision on the CPU: forward and loss under bfloat16 autocast, parameters and updates in float32.

    mmengine's ``AmpOptimWrapper`` does not run without a GPU. bfloat16 has the range of float32, so no loss scaling
    is needed. Takes the arguments of ``OptimWrapper``.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Autocast around the forward pass."""
        with super().optim_context(model), torch.autocast('cpu', torch.bfloat16):
            yield
