"""Photos whose logits are kept, so that the page can predict again: limited in bytes, not in number."""

import secrets
from collections import OrderedDict

from ..apis.photo_logits import PhotoLogits

__all__ = ['PhotoCache']


class PhotoCache:
    """The most recently used photos. Whoever has an id may use it: ids cannot be guessed.

    Args:
        max_bytes: Maximum size of pictures and logits together. The newest photo is always kept.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._photos: OrderedDict[str, PhotoLogits] = OrderedDict()

    def add(self, photo: PhotoLogits) -> str:
        """Keep a photo, drop the least recently used ones, and return the new id."""
        photo_id = secrets.token_urlsafe(16)
        self._photos[photo_id] = photo
        while len(self._photos) > 1 and self.nbytes > self.max_bytes:
            self._photos.popitem(last=False)
        return photo_id

    def find(self, photo_id: str) -> PhotoLogits | None:
        """Return a photo, or None if it was dropped or never existed."""
        if photo_id in self._photos:
            self._photos.move_to_end(photo_id)
        return self._photos.get(photo_id)

    @property
    def nbytes(self) -> int:
        """Bytes of all pictures and logits; memory shared by several tensors, such as those of a batch, counts once."""
        total, storages = 0, {}
        for photo in self._photos.values():
            total += photo.image.nbytes
            for tensor in (*photo.class_logits.values(), *photo.mask_logits.values()):
                storage = tensor.untyped_storage()
                storages[storage.data_ptr()] = storage.nbytes()
        return total + sum(storages.values())
