"""mmengine's Runner with a console for people."""

import logging
from collections.abc import Mapping
from contextlib import nullcontext, redirect_stdout
from typing import Any

from mmengine.dist import is_main_process
from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import RUNNERS
from mmengine.runner import Runner
from torch import nn

from ..console import shorten_console
from .console_hook import ConsoleHook
from .resuming import CheckResume


@RUNNERS.register_module()
class ConsoleRunner(Runner):
    """Prints a header, one short line per interval and the results; the log file is mmengine's.

    With ``log_level='DEBUG'`` the console shows everything that the log file has, as with mmengine.
    """

    def build_logger(self, log_level: int | str = 'INFO', log_file: str | None = None, **kwargs: Any) -> MMLogger:
        """Build the logger before anything is logged, so that the first dumps are in the file only."""
        logger = super().build_logger(log_level, log_file, **kwargs)
        self._is_short = log_level not in ('DEBUG', logging.DEBUG)
        if self._is_short:
            shorten_console(logger)
        return logger

    def build_visualizer(self, visualizer: Any = None) -> Any:
        """Build the visualizer under this run's own name: mmengine keeps it, and the next run needs its own."""
        if isinstance(visualizer, Mapping):
            visualizer = {**visualizer, 'name': self._experiment_name}
        return super().build_visualizer(visualizer)

    def build_message_hub(self, message_hub: dict | None = None) -> MessageHub:
        """Build this run's own hub: mmengine names hubs by the second, so the next run could get ours."""
        MessageHub._instance_dict.pop(self.experiment_name, None)
        return super().build_message_hub(message_hub)

    def register_hooks(self, default_hooks: Any = None, custom_hooks: Any = None) -> None:
        """Add two hooks here and not in the configs, so that they are present whatever hooks a user states."""
        super().register_hooks(default_hooks, custom_hooks)
        self.register_hook(CheckResume())
        if self._is_short and is_main_process():
            self.register_hook(ConsoleHook())

    def load_checkpoint(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Load weights; mmengine prints a line about it in every process, here only the main one does."""
        with nullcontext() if is_main_process() else redirect_stdout(None):
            return super().load_checkpoint(*args, **kwargs)

    def train(self) -> nn.Module:
        """Train; announced before the data are read, which may take a minute."""
        self._announce('Training')
        return super().train()

    def test(self) -> dict[str, float]:
        """Test; likewise."""
        self._announce('Testing')
        return super().test()

    def _announce(self, action: str) -> None:
        if self._is_short and is_main_process():
            print(f'{action} {self.experiment_name.removesuffix(f"_{self.timestamp}")}', flush=True)
