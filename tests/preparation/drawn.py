"""Annotation files of one photo, photos/a.jpg."""

import json
import struct
import zlib

import numpy as np
from PIL import Image

SIZE = (20, 30)
SQUARE = [2, 2, 8, 2, 8, 8, 2, 8]
YOLO = '0 0.1 0.1 0.3 0.1 0.3 0.4 0.1 0.4\n'


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content if isinstance(content, bytes) else content if isinstance(content, str) else json.dumps(content)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())


def png(path, values, mode=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values, mode).save(path)


def coco(*objects, **changes):
    return {
        'images': [{'id': 1, 'file_name': 'a.jpg'}],
        'annotations': [
            {'id': n, 'image_id': 1, 'category_id': 1, 'segmentation': [SQUARE], **one}
            for n, one in enumerate(objects, start=1)
        ],
        'categories': [{'id': 1, 'name': 'dog'}],
    } | changes


def shape(points, kind='polygon', label='dog', **changes):
    return {'label': label, 'points': points, 'shape_type': kind, 'group_id': None, 'flags': {}, **changes}


def labelme_json(*shapes, **changes):
    return {'version': '5', 'shapes': list(shapes), 'imagePath': 'a.jpg', 'imageHeight': 20, 'imageWidth': 30} | changes


BOX = [[2, 2], [8, 2], [8, 8], [2, 8]]


def packed(values, depth, sides=None):
    """A grey PNG of 1, 2 or 4 bits, which Pillow cannot write; its header may claim other ``sides``."""
    bits = ((values[..., None] >> np.arange(depth)[::-1]) & 1).reshape(len(values), -1).astype(np.uint8)
    rows = b''.join(b'\0' + np.packbits(row).tobytes() for row in bits)
    header = struct.pack('>IIBBBBB', *(sides or values.shape[::-1]), depth, 0, 0, 0, 0)
    chunks = [(b'IHDR', header), (b'IDAT', zlib.compress(rows)), (b'IEND', b'')]
    parts = [
        struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data)) for kind, data in chunks
    ]
    return b'\x89PNG\r\n\x1a\n' + b''.join(parts)
