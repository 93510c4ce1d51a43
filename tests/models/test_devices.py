"""No tensor is made on the wrong device: the model on a GPU that need not be there, with tensors without values."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from mmseg_oneformer.models.losses import Targets, matcher
from mmseg_oneformer.models.losses.matcher import Matches
from mmseg_oneformer.models.postprocess import ImageSize, resize_masks, tight_boxes
from mmseg_oneformer.models.text_mapper import TextList, tokenize
from mmseg_oneformer.tasks import TASKS

SWITCHES = {
    'default': {},
    'as the paper': {
        'head__task_token': {'kind': 'linear'},
        'head__query_initializer__values': 'features',
        'criterion__auxiliary': [{'type': 'ContrastiveLoss', 'level': 'query'}],
    },
    'query classification': {'criterion__auxiliary': [{'type': 'QueryClassification'}]},
    'task token off': {'head__use_task_token': False},
}
TEXTS = [TextList(('a photo with a dog',), (2,), 'a semantic photo'), TextList((), (), 'a panoptic photo')]


def move(model, fake):
    """Replace parameters and buffers by valueless ones on the GPU."""
    for module in model.modules():
        for tensors in (module._parameters, module._buffers):
            for name, tensor in tensors.items():
                if tensor is not None:
                    moved = fake.from_tensor(tensor.detach()).to('cuda')
                    tensors[name] = torch.nn.Parameter(moved) if tensors is module._parameters else moved


def match_in_order(costs):
    """Stands in for the Hungarian algorithm, which needs values."""
    pairs = [
        (b, layer, m, m)
        for b, cost in enumerate(costs)
        for layer in range(cost.shape[0])
        for m in range(min(cost.shape[1:]))
    ]
    return Matches(*torch.tensor(pairs).T.to(costs[0].device))


@pytest.mark.parametrize('switch', SWITCHES)
def test_model__every_tensor_is_on_the_gpu(build, monkeypatch, switch):
    monkeypatch.setattr(matcher, 'match', match_in_order)
    model = build(**SWITCHES[switch])
    for text in (*TEXTS[0].texts, TEXTS[0].filler, TEXTS[1].filler):
        tokenize(text)  # remembered: it looks at values
    with FakeTensorMode(allow_non_fake_inputs=True) as fake:
        move(model, fake)
        features = model.extract_feat(torch.empty(2, 3, 64, 96, device='cuda'))
        output = model.head(features, [('semantic',), ('panoptic',)], every_layer=True)
        labels = [torch.zeros(count, dtype=torch.int64, device='cuda') for count in (3, 0)]
        targets = Targets(torch.zeros(2, 64, 96, dtype=torch.int16, device='cuda'), labels, TASKS[:2])
        text_queries = None if model.text_mapper is None else model.text_mapper(TEXTS)
        losses = model.criterion(output, targets, text_queries)
        predictions = model.head(features, [TASKS] * 2, every_layer=False)
        masks = resize_masks(predictions.mask_logits()[0, 0], ImageSize((64, 96), (60, 90), (120, 180)))
        made = [*losses.values(), predictions.class_logits, masks, tight_boxes(masks > 0)]
    assert {tensor.device.type for tensor in made} == {'cuda'}
