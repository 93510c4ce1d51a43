"""One small real file of every form of photo in docs/photos.md, made by Pillow, OpenCV and by hand."""

import io
import struct
import zlib

import cv2
import numpy as np
from PIL import Image, features

SIZE = (24, 40)
"""Height and width as stored."""
RGB = np.zeros((*SIZE, 3), np.uint8)
RGB[:, :20], RGB[:, 20:], RGB[:6] = (220, 20, 30), (20, 30, 220), (20, 200, 40)
"""Left half red, right half blue, a green bar above: any swap of channels or sides shows."""
ALPHA = np.repeat(np.arange(40, dtype=np.uint8)[None] * 6, 24, axis=0)
GREY = cv2.cvtColor(RGB, cv2.COLOR_RGB2GRAY)
TURNS = {
    1: lambda a: a, 2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1), 6: lambda a: a.swapaxes(0, 1)[:, ::-1],
    7: lambda a: a.swapaxes(0, 1)[::-1, ::-1], 8: lambda a: a.swapaxes(0, 1)[::-1],
}  # fmt: skip
"""Stored pixels as they are shown, by orientation."""


def saved(kind, pixels=RGB, mode=None, **options):
    stream = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(stream, format=kind, **options)
    return stream.getvalue()


def by_opencv(suffix, pixels):
    return cv2.imencode(suffix, pixels)[1].tobytes()


def exif(orientation):
    notes = Image.Exif()
    notes[0x112] = orientation
    return notes.tobytes()


def late_exif(orientation):
    """A PNG with its EXIF behind the pixels, as exiftool writes it."""
    png, notes = saved('PNG'), exif(orientation).removeprefix(b'Exif\0\0')
    chunk = b'eXIf' + notes
    return png[:-12] + struct.pack('>I', len(notes)) + chunk + struct.pack('>I', zlib.crc32(chunk)) + png[-12:]


def tiff(pixels, photometric=2, extra=None, sample_format=None, orientation=None, bits=None):
    """An uncompressed TIFF of an array (H, W, bands), with the tags that are asked for."""
    height, width, bands = pixels.shape
    data = pixels.tobytes()
    tags = {
        256: (3, [width]), 257: (3, [height]), 258: (3, [bits or pixels.itemsize * 8] * bands), 259: (3, [1]),
        262: (3, [photometric]), 273: (4, [8]), 274: (3, [orientation or 1]), 277: (3, [bands]), 278: (3, [height]),
        279: (4, [len(data)]), 338: (3, extra or []), 339: (3, [sample_format or 1] * bands),
    }  # fmt: skip
    tags = {tag: (kind, values) for tag, (kind, values) in tags.items() if values}
    data += b'\0' * (len(data) % 2)
    start = 8 + len(data)
    beyond, entries = b'', b''
    for tag, (kind, values) in tags.items():
        packed = struct.pack(f'<{len(values)}{"H" if kind == 3 else "I"}', *values)
        if len(packed) > 4:
            at = start + 6 + 12 * len(tags) + len(beyond)
            beyond, packed = beyond + packed, struct.pack('<I', at)
        entries += struct.pack('<HHI', tag, kind, len(values)) + packed.ljust(4, b'\0')
    directory = struct.pack('<H', len(tags)) + entries + bytes(4) + beyond
    return b'II*\0' + struct.pack('<I', start) + data + directory


def animated(kind):
    other = Image.fromarray(np.ascontiguousarray(RGB[::-1]))
    return saved(kind, save_all=True, append_images=[other], lossless=True)


NIR = np.dstack([RGB, ALPHA])
DEEP = RGB.astype(np.uint16) * 257
"""The same colours in 16 bits."""
DEEP_GREY = GREY.astype(np.uint16) * 257
SIGNED = GREY.astype(np.int16) * 128
GREY_ALPHA = Image.merge('LA', [Image.fromarray(GREY), Image.fromarray(ALPHA)])
THREE_GREYS = np.repeat(GREY[..., None], 3, axis=2)
CMYK = np.asarray(Image.fromarray(RGB).convert('CMYK').convert('RGB'))
PALETTE = Image.fromarray(RGB).convert('P', palette=Image.Palette.ADAPTIVE)
BLACK_WHITE = np.repeat((np.asarray(Image.fromarray(GREY).convert('1')) * np.uint8(255))[..., None], 3, axis=2)
LOSSY = 12
"""Mean difference of a lossy form from what was put in, at most."""

FORMS = {
    # name: (bytes of the file, what is shown as (H, W, 3) RGB)
    'jpeg': (saved('JPEG', quality=95, subsampling=0), RGB),
    'grey jpeg': (saved('JPEG', mode='L', quality=95), THREE_GREYS),
    'cmyk jpeg': (saved('JPEG', mode='CMYK', quality=95, subsampling=0), CMYK),
    'progressive jpeg': (saved('JPEG', quality=95, subsampling=0, progressive=True), RGB),
    'jpeg with a video behind it': (saved('JPEG', quality=95, subsampling=0) + b'\0\0\0\x18ftypmp42' * 900, RGB),
    'png': (saved('PNG'), RGB),
    'png named .jpg': (saved('PNG'), RGB),
    'png with alpha': (saved('PNG', NIR), RGB),
    'grey png': (saved('PNG', GREY), THREE_GREYS),
    'grey png with alpha': (saved('PNG', GREY_ALPHA), THREE_GREYS),
    'palette png': (saved('PNG', PALETTE), np.asarray(PALETTE.convert('RGB'))),
    'palette png with transparency': (saved('PNG', PALETTE, transparency=0), np.asarray(PALETTE.convert('RGB'))),
    '1-bit png': (saved('PNG', GREY, mode='1'), BLACK_WHITE),
    '16-bit png': (by_opencv('.png', DEEP[:, :, ::-1]), RGB),
    '16-bit png with alpha': (by_opencv('.png', np.dstack([DEEP[:, :, ::-1], ALPHA * np.uint16(257)])), RGB),
    '16-bit grey png': (saved('PNG', DEEP_GREY), THREE_GREYS),
    'webp': (saved('WEBP', lossless=True), RGB),
    'webp with alpha': (saved('WEBP', NIR, lossless=True, exact=True), RGB),
    'animated webp': (animated('WEBP'), RGB),
    'bmp': (saved('BMP'), RGB),
    'gif': (saved('GIF', PALETTE), np.asarray(PALETTE.convert('RGB'))),
    'animated gif': (animated('GIF'), np.asarray(Image.open(io.BytesIO(animated('GIF'))).convert('RGB'))),
    'tiff': (tiff(RGB), RGB),
    'lzw tiff': (saved('TIFF', compression='tiff_lzw'), RGB),
    'grey tiff': (tiff(GREY[..., None], photometric=1), THREE_GREYS),
    'tiff with alpha': (tiff(NIR, extra=[2]), RGB),
    'tiff with near infrared': (tiff(NIR, extra=[0]), RGB),
    'tiff with two more bands': (tiff(np.dstack([NIR, ALPHA]), extra=[0, 0]), RGB),
    'cmyk tiff': (saved('TIFF', mode='CMYK'), CMYK),
    '16-bit tiff': (tiff(DEEP), RGB),
    '16-bit tiff with near infrared': (tiff(np.dstack([DEEP, ALPHA.astype(np.uint16)]), extra=[0]), RGB),
    '16-bit grey tiff': (tiff(DEEP_GREY[..., None], photometric=1), THREE_GREYS),
    'signed 16-bit tiff': (tiff(SIGNED[..., None], photometric=1, sample_format=2), THREE_GREYS),
    'ppm': (saved('PPM'), RGB),
    'tga': (saved('TGA'), RGB),
    **{
        f'{kind} turned {turn}': (data(turn), TURNS[turn](RGB))
        for turn in TURNS
        for kind, data in {
            'jpeg': lambda turn: saved('JPEG', quality=95, subsampling=0, exif=exif(turn)),
            'png': lambda turn: saved('PNG', exif=exif(turn)),
            'png behind its pixels': late_exif,
            'webp': lambda turn: saved('WEBP', lossless=True, exif=exif(turn)),
            'tiff': lambda turn: tiff(RGB, orientation=turn),
            '16-bit tiff': lambda turn: tiff(DEEP, orientation=turn),
        }.items()
    },
}  # fmt: skip
if features.check('avif'):
    FORMS['avif'] = (saved('AVIF', quality=95), RGB)
    FORMS['avif with alpha'] = (saved('AVIF', NIR, quality=95), RGB)
    FORMS |= {f'avif turned {turn}': (saved('AVIF', quality=95, exif=exif(turn)), TURNS[turn](RGB)) for turn in TURNS}
if features.check('jpg_2000'):
    FORMS['jpeg 2000'] = (saved('JPEG2000'), RGB)

STRANGE = ('ppm', 'tga', 'jpeg 2000')
"""What is not taken from strangers."""
NOT_BY_PILLOW = ('16-bit tiff with near infrared',)
"""What OpenCV has to read, so that the numpy runtime does not."""

REJECTED = {
    # name: (bytes of the file, a part of the sentence)
    'empty file': (b'', 'empty'),
    'text': (b'a photo of a dog', 'not an image'),
    'float tiff': (tiff(GREY[..., None].astype(np.float32), photometric=1, sample_format=3), '32-bit floating-point'),
    'float colour tiff': (tiff(RGB.astype(np.float32), sample_format=3), '3 bands of 32 bits in floating point'),
    '32-bit tiff': (tiff(GREY[..., None].astype(np.int32), photometric=1, sample_format=2), '32-bit integers'),
    'five bands': (tiff(np.dstack([NIR, ALPHA]), photometric=1, extra=[0] * 4), '5 bands of 8 bits'),
    'lab tiff': (tiff(RGB, photometric=8), 'colours of the form LAB'),
    'cut jpeg': (saved('JPEG', quality=95)[:-100], 'cut off'),
    'cut png': (saved('PNG')[:-30], 'cut off'),
    'cut webp': (saved('WEBP', lossless=True)[:-60], 'damaged'),
    'cut tiff': (saved('TIFF', compression='tiff_lzw')[:-40], 'damaged'),
    'cut bmp': (saved('BMP')[:-400], 'damaged'),
    'postscript': (b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n', 'drawing commands'),
}  # fmt: skip
