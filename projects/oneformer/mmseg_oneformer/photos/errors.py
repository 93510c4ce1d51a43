"""Why a photo is not read."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, TypeAlias

from ..errors import UserError

__all__ = ['Fault', 'PhotoError', 'damaged', 'plugin_errors', 'unsupported']

Fault: TypeAlias = Literal['unknown', 'damaged', 'unsupported', 'large', 'memory']


class PhotoError(UserError):
    """A photo that is not read; the message is a sentence.

    Args:
        message: The sentence.
        fault: 'unknown' is no photo, 'damaged' is broken or cut off, 'unsupported' has values that are none of a
            photo, 'large' has more pixels than the caller takes, 'memory' more than there is memory for.
        detail: What the fault is, as a part of a sentence, for callers with sentences of their own.
    """

    def __init__(self, message: str, fault: Fault = 'damaged', detail: str = '') -> None:
        super().__init__(message)  # One argument: torch builds the errors of its workers anew from the text alone.
        self.fault, self.detail = fault, detail


def damaged(name: str, reason: str, fault: Fault = 'damaged') -> PhotoError:
    """Return the error of the photo ``name`` that is broken or none, for a reason that fits into brackets."""
    text = f'Image {name} cannot be decoded: it is damaged, truncated or not an image ({reason}); copy it again.'
    return PhotoError(text, fault, reason)


def unsupported(name: str, form: str) -> PhotoError:
    """Return the error of the photo ``name`` that has something that is not read."""
    text = f'Image {name} has {form}, which is not read; save it with 8 bits a channel in grey or RGB.'
    return PhotoError(text, 'unsupported', form)


@contextmanager
def plugin_errors(name: str) -> Iterator[None]:
    """Surround Pillow's reading of the photo ``name``: whatever a broken file makes of its parsers is a PhotoError.

    Raises:
        PhotoError: The photo is damaged, or there is no memory for it.
    """
    try:
        yield
    except PhotoError:
        raise
    except MemoryError as error:
        raise PhotoError(f'Image {name} does not fit into memory; make it smaller.', 'memory') from error
    except Exception as error:
        raise damaged(name, ' '.join(str(error).split()) or type(error).__name__) from error
