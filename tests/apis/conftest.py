"""A tiny model with a config file and weights, as a user has them; a web server."""

import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from mmseg_oneformer.apis import download

CONFIG = """
default_scope = 'mmdet'
classes = ('disc', 'box', 'sky', 'grass')
metainfo = dict(
    classes=classes, thing_ids=(0, 1), palette=[(220, 60, 60), (70, 90, 220), (90, 180, 230), (90, 170, 70)])
model = dict(
    type='OneFormer',
    thing_ids=(0, 1),
    data_preprocessor=dict(
        type='mmdet.DetDataPreprocessor', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True,
        pad_size_divisor=32),
    backbone=dict(type='mmdet.ResNet', depth=18, base_channels=8, stem_channels=8, out_indices=(0, 1, 2, 3)),
    head=dict(
        type='OneFormerHead', num_classes=4, num_queries=12, channels=32,
        pixel_decoder=dict(
            type='OneFormerPixelDecoder', in_channels=[8, 16, 32, 64], num_layers=1, num_heads=4, ffn_channels=32),
        query_initializer=dict(type='QueryInitializer', num_layers=1, num_heads=4, ffn_channels=32),
        decoder=dict(type='MaskedDecoder', num_layers=3, num_heads=4, ffn_channels=32)),
    test_cfg=dict(object_mask_thr=0.3, overlap_thr=0.3, max_per_image=20))
test_pipeline = [
    dict(type='LoadImageFromFile'), dict(type='ShortestEdge', size=64, max_size=128), dict(type='LoadPanopticIds'),
    dict(type='PackOneFormerInputs')]
test_dataloader = dict(
    batch_size=1, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='PanopticDataset', ann_file='not/there.json', metainfo=metainfo, test_mode=True, pipeline=test_pipeline))
visualizer = dict(type='OneFormerVisualizer', name='tiny')
"""

SCALES = {
    'head.query_embed.weight': 5.0,
    'head.decoder.class_embed.weight': 3.0,
    'head.decoder.mask_embed.layers.2.weight': 0.6,
    'head.decoder.mask_embed.layers.1.weight': 0.4,
    'head.decoder.mask_embed.layers.0.weight': 0.4,
}
"""Spread of the weights that make queries differ in class and mask, so that there is an answer to compare."""


@pytest.fixture(scope='session')
def tiny_model(tmp_path_factory):
    """Paths of the config and of the weights, which are random but sure of themselves."""
    folder = tmp_path_factory.mktemp('tiny')
    config = folder / 'tiny.py'
    config.write_text(CONFIG)
    torch.manual_seed(0)
    cfg = Config.fromfile(config)
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(cfg.model)
    state = model.state_dict()
    generator = torch.Generator().manual_seed(1)
    for key, scale in SCALES.items():
        state[key].copy_(torch.randn(state[key].shape, generator=generator) * scale)
    weights = folder / 'tiny.pth'
    meta = {'dataset_meta': {key: cfg.metainfo[key] for key in ('classes', 'thing_ids', 'palette')}}
    torch.save({'state_dict': state, 'meta': meta}, weights)
    return config, weights


@pytest.fixture
def make_photo():
    """A function that draws a colourful photo (H, W, 3) BGR."""

    def make(height=50, width=70, seed=0):
        rng = np.random.default_rng(seed)
        coarse = rng.integers(0, 256, (4, 5, 3), dtype=np.uint8)
        return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)

    return make


class Handler(BaseHTTPRequestHandler):
    """Answers as the server's ``rules`` say."""

    def do_GET(self):  # noqa: N802 (the library's name)
        rules = self.server.rules
        self.server.requests.append((self.path, self.headers.get('Range')))
        if self.path in rules.redirects:
            self.send_response(302)
            self.send_header('Location', rules.redirects[self.path])
            self.end_headers()
            return
        if rules.failures:
            self.send_error(rules.failures.pop(0))
            return
        start = 0
        asked = re.fullmatch(r'bytes=(\d+)-', self.headers.get('Range') or '')
        same = self.headers.get('If-Range') == rules.etag or not rules.minds_if_range
        if asked and rules.ranges and same:
            start = int(asked.group(1))
            if start >= len(rules.content):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header('Content-Range', f'bytes {start}-{len(rules.content) - 1}/{len(rules.content)}')
        else:
            self.send_response(200)
        body = rules.content[start:]
        if rules.etag:
            self.send_header('ETag', rules.etag)
        self.send_header('Content-Type', rules.kind)
        if rules.length:
            self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body[: rules.cuts.pop(0) if rules.cuts else None])

    def log_message(self, *args):
        pass


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path_factory):
    """No test sees what the developer has downloaded."""
    monkeypatch.setenv('MMSEG_ONEFORMER_CACHE', str(tmp_path_factory.mktemp('cache')))


@pytest.fixture
def server(monkeypatch):
    """A web server: ``rules`` says how it behaves, ``requests`` is what it was asked, (path, range)."""
    server = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    server.requests = []
    server.rules = SimpleNamespace(
        content=np.random.default_rng(0).bytes(300_000),
        etag='"one"',
        kind='application/octet-stream',
        ranges=True,
        length=True,
        minds_if_range=True,
        cuts=[],  # after how many bytes the next connections break off
        failures=[],  # status codes of the next answers
        redirects={},
    )
    server.url = f'http://127.0.0.1:{server.server_port}/weights.pth'
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    monkeypatch.setattr(download, 'SCHEMES', ('http',))
    monkeypatch.setattr(download.time, 'sleep', lambda seconds: None)
    yield server
    server.shutdown()
    server.server_close()
