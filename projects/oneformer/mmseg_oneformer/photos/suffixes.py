"""Which files of a folder are photos or videos: one list for training, inference, preparation and the doctor."""

from pathlib import Path

__all__ = ['PHOTO_SUFFIXES', 'VIDEO_SUFFIXES', 'is_hidden', 'is_photo', 'is_video', 'photos_below']

PHOTO_SUFFIXES = (
    *('.jpg', '.jpeg', '.jpe', '.jfif', '.png', '.webp', '.tif', '.tiff', '.bmp', '.dib', '.avif', '.gif'),
    *('.jp2', '.j2k', '.ppm', '.pgm', '.pbm', '.pnm', '.tga'),
)
"""What counts as a photo in a folder, ignoring case; a file that is named explicitly is tried whatever its suffix."""
VIDEO_SUFFIXES = (
    *('.mp4', '.m4v', '.mov', '.avi', '.mkv', '.webm', '.mpg', '.mpeg', '.wmv', '.3gp', '.3g2', '.ts', '.mts', '.m2ts'),
    *('.flv', '.ogv'),
)
"""What counts as a video, ignoring case."""


def is_photo(path: Path) -> bool:
    """Return whether an entry of a folder is a file that is named like a photo and not hidden.

    So is a link that leads nowhere: whoever reads it reports it, while leaving it out would lose a photo unnoticed.
    """
    if path.suffix.lower() not in PHOTO_SUFFIXES or is_hidden(path):
        return False
    return path.is_file() or (path.is_symlink() and not path.exists())


def is_video(path: Path) -> bool:
    """Return whether a file is named like a video."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def is_hidden(path: Path) -> bool:
    """Return whether a file is for internal use by systems and programs, such as ``._a.jpg`` on macOS."""
    return path.name.startswith('.')


def photos_below(folder: Path) -> list[Path]:
    """List the photos in a folder and its subfolders, sorted by their paths; hidden folders are left out."""
    names = {path: path.relative_to(folder) for path in folder.rglob('*') if is_photo(path)}
    shown = [path for path, name in names.items() if not any(part.startswith('.') for part in name.parts)]
    return sorted(shown, key=lambda path: names[path].as_posix())
