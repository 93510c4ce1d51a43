"""Fit the weights in a file to the model of a config."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from mmengine.config import Config
from torch import Tensor, nn

from ..checkpoints.checkpoint import TRAINING_ONLY, check_fit
from .fine_tuning import CLASS_HEADS
from .skeleton import build_skeleton


@dataclass
class Fitted:
    """Weights that match a model exactly."""

    state: dict[str, Tensor]
    model: list[str]
    """Keys of the model, without the text branch if the weights have none."""
    dropped: dict[str, str] = field(default_factory=dict)
    """Our key -> why it was left out."""
    reset: list[str] = field(default_factory=list)


def fit_to_model(
    state: Mapping[str, Tensor], cfg: Config, path: object, reset_classifier: bool = False, with_text: bool = True
) -> Fitted:
    """Select the tensors of ``state`` that the model of ``cfg`` has.

    Args:
        state: Weights under our names.
        cfg: Config of a OneFormer.
        path: Where the weights come from, for messages.
        reset_classifier: Start a new class head.
        with_text: Keep the text branch, if there is one on both sides.

    Raises:
        UserError: The weights belong to another model.
    """
    own = build_skeleton(cfg.model).state_dict()
    result = Fitted(dict(state), [])
    text = [key for key in state if key.startswith(TRAINING_ONLY)]
    if not with_text:
        result.dropped = dict.fromkeys(text, 'only training needs the text branch')
    elif not any(key.startswith('text_mapper.') for key in own):
        unknown = [key for key in text if key not in own]
        result.dropped = dict.fromkeys(unknown, 'the config has no text branch')
    for key in result.dropped:
        del result.state[key]
    if not any(key.startswith('text_mapper.') for key in result.state):
        own = {key: value for key, value in own.items() if not key.startswith(TRAINING_ONLY)}
    for head in CLASS_HEADS if reset_classifier else ():
        if f'{head}weight' in own and f'{head}weight' in state:
            classes, channels = own[f'{head}weight'].shape
            fresh = {f'{head}{key}': tensor.detach() for key, tensor in nn.Linear(channels, classes).named_parameters()}
            result.reset += fresh
            result.state |= fresh
    check_fit(own, result.state, str(path))
    result.model = list(own)
    return result
