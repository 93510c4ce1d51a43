"""From what a file holds to what a config's model needs."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from mmengine.config import Config
from torch import Tensor, nn

from ..models.checkpoint import TEXT_PREFIXES, check_fit
from ..models.fine_tuning import CLASS_HEADS
from ..models.skeleton import build_skeleton

CLASS_HEAD = CLASS_HEADS[0]


@dataclass
class Fitted:
    """Weights that are exactly those of a model."""

    state: dict[str, Tensor]
    model: list[str]
    """Keys of the model, without the text branch if the weights have none."""
    dropped: dict[str, str] = field(default_factory=dict)
    """Our key -> why it was left out."""
    reset: list[str] = field(default_factory=list)


def fit_to_model(
    state: Mapping[str, Tensor], cfg: Config, path: object, reset_classifier: bool = False, without_text: bool = False
) -> Fitted:
    """Choose from ``state`` what the model of ``cfg`` has.

    Args:
        state: Our names.
        cfg: With a OneFormer.
        path: Where the weights are from, for messages.
        reset_classifier: Start a new class head if there is another number of classes.
        without_text: Leave out the text branch.

    Raises:
        ValueError: The weights are another model's.
    """
    own = build_skeleton(cfg.model).state_dict()
    result = Fitted(dict(state), [])
    has_branch = any(key.startswith('text_mapper.') for key in own)
    if without_text or not has_branch:
        reason = 'left out as asked for' if without_text else 'the config has no text branch'
        result.dropped = {key: reason for key in state if key.startswith(TEXT_PREFIXES) and key not in own}
        if without_text:
            result.dropped |= {key: reason for key in state if key.startswith(TEXT_PREFIXES)}
    for key in result.dropped:
        del result.state[key]
    if not any(key.startswith('text_mapper.') for key in result.state):
        own = {key: value for key, value in own.items() if not key.startswith(TEXT_PREFIXES)}
    weight = own.get(f'{CLASS_HEAD}weight')
    stored = state.get(f'{CLASS_HEAD}weight')
    if reset_classifier and weight is not None and stored is not None and weight.shape[0] != stored.shape[0]:
        fresh = nn.Linear(weight.shape[1], weight.shape[0])
        result.reset = [f'{CLASS_HEAD}weight', f'{CLASS_HEAD}bias']
        result.state |= dict(zip(result.reset, (fresh.weight.detach(), fresh.bias.detach()), strict=True))
    check_fit(own, result.state, str(path))
    result.model = list(own)
    return result
