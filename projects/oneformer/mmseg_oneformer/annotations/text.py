"""Text files of annotation tools, in whichever encoding an editor saved them."""

import json
from pathlib import Path

from ..errors import UserError

__all__ = ['read_text']


def read_text(path: str | Path) -> str:
    """Return the text of a file in UTF-8, with or without a byte order mark, or in UTF-16 or UTF-32.

    Raises:
        UserError: It does not exist, or has another encoding.
    """
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError as error:
        raise UserError(f'{path} does not exist; check the path.') from error
    try:
        # JSON's rule: the byte order mark, else the zeros beside the first characters.
        return data.decode(json.detect_encoding(data))
    except UnicodeDecodeError as error:
        raise UserError(f'{path} is not text in UTF-8; save it so.') from error
