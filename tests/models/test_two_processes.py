"""Two gloo processes with parts of a batch train as one with all of it. As a script, this file is one of the two."""

from functools import partial

import torch

import mmseg_oneformer  # noqa: F401

PARTS = {  # targets of rank 0's images, of rank 1's
    'equal': ((3, 2), (4, 1)),
    'unequal': ((3, 2, 1), (2,)),
    'one rank without a target': ((3, 2), (0, 0)),
    'one target in all': ((1,), (0, 0)),
    'no target at all': ((0,), (0, 0)),
}
SWITCHES = {
    'default': {},
    'query': {'criterion__auxiliary': [{'type': 'ContrastiveLoss', 'level': 'query'}]},
    'classification': {'criterion__auxiliary': [{'type': 'QueryClassification'}]},
    'activation checkpointing': {
        'head__pixel_decoder__with_cp': True,
        'head__query_initializer__with_cp': True,
        'head__decoder__with_cp': True,
        'backbone__with_cp': True,
    },
    'float32': {},
}
BOUNDS = {torch.float64: 1e-10, torch.float32: 1e-4}
"""What the order of sums leaves: differences relative to the loss, and to the largest gradient of each parameter."""


class KeyedDraw:
    """Points that depend on the image they are for, not on the process or the other images."""

    def __init__(self, samples):
        self.images = [sample.img_id for sample in samples]
        drawn = [sample.img_id for sample in samples if len(sample.gt_instances)]
        self.calls = iter([(image, kind) for image in drawn for kind in (1, 2)])
        self.matched = False

    def points(self, rows, points, image, kind):
        return torch.rand(rows, points, 2, generator=torch.Generator().manual_seed(10 * image + kind))

    def __call__(self, rows, points, device):
        if self.matched:
            return self.points(rows, points, *next(self.calls))
        self.matched = True
        return torch.cat([self.points(1, points, image, 0) for image in self.images])


def losses_and_gradients(model, wrapper, batch):
    """Losses by name, and gradients by the parameter's name, of a raw batch."""
    data = model.data_preprocessor(batch, training=True)
    criterion = type(model.criterion).forward
    model.criterion.forward = partial(criterion, model.criterion, draw=KeyedDraw(data['data_samples']))
    images = data['inputs'].to(next(model.parameters()).dtype)
    losses = wrapper(images, data['data_samples'], mode='loss')
    model.zero_grad()
    sum(losses.values()).backward()
    gradients = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    return {name: value.detach() for name, value in losses.items()}, gradients


def run_part():
    """One of two processes: its part of every batch, under DDP that rejects unused parameters."""
    torch.distributed.init_process_group('gloo')
    rank = torch.distributed.get_rank()
    work = torch.load('work.pth', weights_only=False)
    results = {}
    for switch, (model, cases) in work.items():
        wrapper = torch.nn.parallel.DistributedDataParallel(model, find_unused_parameters=False)
        for name, parts in cases.items():
            results[switch, name] = losses_and_gradients(model, wrapper, parts[rank])
    torch.save(results, f'rank{rank}.pth')
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def test_loss__two_processes_equal_one(build, make_batch, tmp_path, start_ranks):
    work, expected = {}, {}
    for switch, changes in SWITCHES.items():
        cases = {}
        for name, (one, other) in PARTS.items():
            if switch == 'default' or name == 'unequal':
                both = make_batch((*one, *other))
                first = {key: values[: len(one)] for key, values in both.items()}
                second = {key: values[len(one) :] for key, values in both.items()}
                cases[name] = (first, second)
        work[switch] = (build(**changes).to(torch.float32 if switch == 'float32' else torch.float64), cases)
    torch.save(work, tmp_path / 'work.pth')
    finish = start_ranks(__file__)
    for switch, (model, cases) in work.items():
        for name, (first, second) in cases.items():
            whole = {key: [*first[key], *second[key]] for key in first}
            expected[switch, name] = losses_and_gradients(model, model, whole)
    finish()

    ranks = [torch.load(tmp_path / f'rank{rank}.pth', weights_only=False) for rank in range(2)]
    worst = {}
    for key, (losses, gradients) in expected.items():
        bound = BOUNDS[next(iter(gradients.values())).dtype]
        for name, value in losses.items():
            mean = (ranks[0][key][0][name] + ranks[1][key][0][name]) / 2
            assert abs(mean - value) <= bound * max(abs(value), 1), (key, name)
        scale = max(gradient.abs().max() for gradient in gradients.values())
        for name, gradient in gradients.items():
            assert torch.equal(ranks[0][key][1][name], ranks[1][key][1][name]), (key, name)
            error = (ranks[0][key][1][name] - gradient).abs().max()
            # tiny gradients are differences of large numbers: a thousandth of the largest one is their scale
            worst[key] = max(worst.get(key, 0), float(error / max(gradient.abs().max(), 1e-3 * scale)))
        assert worst[key] <= bound, (key, worst[key])
    print('largest relative differences of gradients:', {key: f'{value:.1e}' for key, value in worst.items()})


if __name__ == '__main__':
    run_part()
