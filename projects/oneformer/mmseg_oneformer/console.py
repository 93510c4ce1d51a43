"""What of mmengine's log a terminal shows; the log file has all of it.

mmengine's Runner logs environment, config and hooks in some 400 lines, and each loss of each decoder layer at every
interval. They belong into a file. Here the handler of the terminal lets pass what was logged with :func:`say`, and
warnings and errors.
"""

import logging

from mmengine.logging import MMLogger

LIBRARY_WARNINGS = ('"FileClient" will be deprecated', '"HardDiskBackend" is the alias')
"""How warnings begin that mmengine's own CheckpointHook causes at each start, and no user can prevent."""


def say(message: str) -> None:
    """Log a sentence that a terminal shows, too."""
    MMLogger.get_current_instance().info(message, extra={'said': True})


def shorten_console(logger: logging.Logger) -> None:
    """Let the terminal's handler of ``logger`` show what is meant for people only; files are left alone."""
    for handler in logger.handlers:
        if isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler):
            handler.addFilter(_is_shown)
            handler.setFormatter(_ShortFormatter())


def _is_shown(record: logging.LogRecord) -> bool:
    if record.levelno < logging.WARNING:
        return getattr(record, 'said', False)
    return not record.getMessage().startswith(LIBRARY_WARNINGS)


class _ShortFormatter(logging.Formatter):
    """The message alone, or behind 'warning:' or 'error:'."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return text if record.levelno < logging.WARNING else f'{record.levelname.lower()}: {text}'
