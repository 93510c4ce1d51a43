"""Why a photo cannot be read."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, TypeAlias

from ..errors import UserError

__all__ = ['Fault', 'PhotoError', 'damaged', 'plugin_errors', 'unsupported']

Fault: TypeAlias = Literal['unknown', 'damaged', 'unsupported', 'large', 'memory']


class PhotoError(UserError):
    """A photo that cannot be read; the message is a sentence.

    Args:
        message: The sentence.
        fault: 'unknown': not a photo; 'damaged': broken or cut off; 'unsupported': its values are not those of a photo;
            'large': more pixels than the caller accepts; 'memory': more pixels than fit into memory.
        detail: The fault as a part of a sentence, for callers that phrase their own.
    """

    def __init__(self, message: str, fault: Fault = 'damaged', detail: str = '') -> None:
        super().__init__(message)  # One argument: torch recreates the errors of its workers from just the text.
        self.fault, self.detail = fault, detail


def damaged(name: str, reason: str, fault: Fault = 'damaged') -> PhotoError:
    """Return the error for a photo ``name`` that is damaged or not a photo, for a reason that fits into brackets."""
    text = f'Image {name} cannot be decoded: it is damaged, truncated or not an image ({reason}); copy it again.'
    return PhotoError(text, fault, reason)


def unsupported(name: str, form: str) -> PhotoError:
    """Return the error for a photo ``name`` that has something unsupported."""
    text = f'Image {name} has {form}, which is not supported; save it with 8 bits a channel in grey or RGB.'
    return PhotoError(text, 'unsupported', form)


@contextmanager
def plugin_errors(name: str) -> Iterator[None]:
    """Surround Pillow's reading of the photo ``name``: any error that a broken file causes becomes a PhotoError.

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
