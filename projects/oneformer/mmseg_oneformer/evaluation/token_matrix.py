"""Every metric under every token from one backbone pass per image (paper, Tables 8 and V)."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.evaluator import Evaluator
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.registry import LOOPS
from mmengine.runner import TestLoop
from mmengine.runner.amp import autocast
from mmengine.structures import BaseDataElement

from ..errors import UserError
from ..tasks import TASKS, check_tasks
from .results import format_results

Predictions = Mapping[str, Sequence[BaseDataElement]]


class TokenEvaluator:
    """One evaluator per token, with the two methods of an evaluator that a loop calls."""

    def __init__(self, evaluators: Mapping[str, Evaluator]) -> None:
        """Take an evaluator for each token."""
        self.evaluators = dict(evaluators)

    @property
    def metrics(self) -> list[Any]:
        """All metrics of all tokens."""
        return [metric for evaluator in self.evaluators.values() for metric in evaluator.metrics]

    def process(self, data_samples: Predictions, data_batch: Any | None = None) -> None:
        """Give each evaluator the predictions under its token."""
        for token, evaluator in self.evaluators.items():
            evaluator.process(data_samples=data_samples[token], data_batch=data_batch)

    def evaluate(self, size: int) -> dict[str, float]:
        """Return all metrics, named ``token/metric``."""
        metrics = {}
        for token, evaluator in self.evaluators.items():
            print_log(f'metrics under the {token} token', logger='current')
            metrics.update({f'{token}/{name}': value for name, value in evaluator.evaluate(size).items()})
        return metrics


def split_tokens(metrics: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Return metrics named ``token/metric`` as one mapping per token."""
    matrix: dict[str, dict[str, float]] = {}
    for name, value in metrics.items():
        token, _, plain = name.partition('/')
        matrix.setdefault(token, {})[plain] = value
    return matrix


@LOOPS.register_module()
class TokenMatrixLoop(TestLoop):
    """Test loop that measures every prediction under every token; metrics are named ``token/metric``.

    The model needs ``predict_tokens``. Hooks get as ``outputs`` a mapping from token to data samples.
    """

    def __init__(
        self,
        runner: Any,
        dataloader: Any,
        evaluator: Evaluator | dict | list,
        fp16: bool = False,
        tokens: Sequence[str] = TASKS,
    ) -> None:
        """Create the loop.

        Args:
            runner: mmengine's runner.
            dataloader: The test data, built or its config.
            evaluator: The metrics; each token gets its own copy.
            fp16: Run under autocast.
            tokens: Rows of the matrix.

        Raises:
            UserError: The model has no task token.
        """
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        if not hasattr(model, 'predict_tokens'):
            raise UserError(
                f'{type(model).__name__} has no task token and gives one set of predictions; leave out --token-matrix.'
            )
        self.evaluator: Any
        super().__init__(runner, dataloader, copy.deepcopy(evaluator), fp16)
        # The base class has built the evaluator and given it the metainfo of the data, so it is copied.
        first: Evaluator = self.evaluator
        self.evaluator = TokenEvaluator({token: copy.deepcopy(first) for token in check_tasks(tokens)})

    def run(self) -> dict[str, float]:
        """Run the test and log the matrix."""
        metrics = super().run()
        print_log(f'token matrix\n{format_results(split_tokens(metrics))}', logger='current')
        return metrics

    @torch.no_grad()
    def run_iter(self, idx: int, data_batch: dict) -> None:
        """Predict for one batch under every token and give the predictions to the metrics."""
        self.runner.call_hook('before_test_iter', batch_idx=idx, data_batch=data_batch)
        model = self.runner.model.module if is_model_wrapper(self.runner.model) else self.runner.model
        with autocast(enabled=self.fp16):
            data = model.data_preprocessor(data_batch, False)
            outputs = model.predict_tokens(data['inputs'], data['data_samples'], tuple(self.evaluator.evaluators))
        self.evaluator.process(data_samples=outputs, data_batch=data_batch)
        self.runner.call_hook('after_test_iter', batch_idx=idx, data_batch=data_batch, outputs=outputs)
