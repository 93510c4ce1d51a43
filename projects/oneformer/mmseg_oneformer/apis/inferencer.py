"""Photos in, answers out: the three lines of Python that most users need.

Decisions:
* A call keeps nothing: tasks and token are arguments, and the model's own settings are as before after it.
* Arrays are BGR, as everywhere in OpenMMLab; what is read from disk is turned to BGR by the config's own loader.
* ``stream`` holds one batch at a time, the images of the next, and the answers of the last while they are written, for
  folders whose answers do not fit in memory. Reading and writing overlap with the network; order and errors are those
  of one after the other.
"""

import os
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from functools import cached_property
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import torch
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, TRANSFORMS, DefaultScope
from tqdm import tqdm

from ..datasets.images import image_fault
from ..datasets.metainfo import metainfo_of
from ..models.checkpoint import for_inference, load_weights
from ..models.precision import check_dtype, use_dtype
from ..tasks import TASKS, check_task, check_tasks
from ..visualization.colors import Color, palette_colors
from .overlap import read_ahead, write_behind
from .photo_logits import PhotoLogits
from .registry import read_config
from .results import AnswerWriter, OneFormerResult
from .sources import Input, Source, collect_sources
from .weights import find_weights, resolve_weights


class Prepared(NamedTuple):
    """One image, ready for the network."""

    source: Source
    image: np.ndarray
    """The photo as loaded, (H, W, 3) uint8 BGR."""
    pixels: torch.Tensor
    """(3, h, w) uint8, resized."""
    sample: DetDataSample
    """Knows the sizes."""
    network_size: tuple[int, int]
    """Height and width of the network's input when the image is alone in a batch. Images of one size can share a batch
    and are answered as each would be alone."""


class OneFormerInferencer:
    """Answers photos with one model.

    Example:
        >>> infer = OneFormerInferencer('oneformer_swin-l_8xb2-100e_coco-1024x1024')
        >>> result = infer('photo.jpg', tasks='panoptic')[0]
        >>> result.panoptic.segments

    Args:
        model: Name of a model, path of a config, or a config.
        weights: A checkpoint in any public form, or its https address; by default those of the model's name, which are
            shipped, or cached, or downloaded.
        device: Such as 'cpu' or 'cuda:1'; by default a GPU if there is one.
        cfg_options: Settings that override the config.
        dtype: Number format of the network: 'fp32', 'bf16', or 'fp16' on a GPU; by default the config's, which is fp32.
            Half precision changes few pixels.
        compile: Compile the network (``torch.compile``), which takes a minute or more at the first images. For GPUs: on
            the CPU measured, compiled networks were slower (docs/performance.md).

    Raises:
        FileNotFoundError: If the weights do not exist.
        ValueError: If there is no such model, its weights are not known or do not fit, or the device does not exist.
        ConnectionError: If the weights cannot be downloaded.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | Config,
        weights: str | os.PathLike[str] | None = None,
        device: str | torch.device | None = None,
        cfg_options: dict[str, Any] | None = None,
        dtype: str | None = None,
        compile: bool = False,
    ) -> None:
        self.device = _device(device)
        cfg = _read_config(model, cfg_options)
        if dtype is not None:
            use_dtype(cfg, check_dtype(dtype, self.device))
        if weights is not None:
            weights = resolve_weights(weights)
        elif not isinstance(model, Config):
            weights = find_weights(model, download=True)
        if weights is None:
            raise ValueError(f'No weights are shipped or published for {_name(model)}; give the path of its weights.')
        self.cfg = for_inference(cfg)
        with DefaultScope.overwrite_default_scope(self.cfg.get('default_scope', 'mmdet')):
            self.model = revert_sync_batchnorm(MODELS.build(self.cfg.model))
            meta = load_weights(self.model, weights)
            self.dataset_meta = _dataset_meta(self.cfg, meta, self.model)
            self._load, self._prepare = _pipeline(self.cfg)
        self.model.cfg, self.model.dataset_meta = self.cfg, self.dataset_meta
        self.model.to(self.device).eval()
        if compile:
            self.model.compile_network()

    def __call__(
        self,
        inputs: Input | Sequence[Input],
        tasks: str | Sequence[str] = TASKS,
        token: str | None = None,
        batch_size: int = 1,
        progress: bool = True,
        out_dir: str | os.PathLike[str] | None = None,
        mask_format: str | None = None,
    ) -> list[OneFormerResult]:
        """Answer images, and hold all answers in memory.

        Args:
            inputs: A photo, a folder of photos, a uint8 BGR array (H, W, 3), or a list of these.
            tasks: 'semantic', 'instance', 'panoptic' or several of them.
            token: The task whose token is used for all answers; by default each has its own.
            batch_size: Images that go through the network together. Smaller ones are padded to the largest, which
                changes their answers a little; 1 gives the exact ones.
            progress: Show a progress bar for more than one image.
            out_dir: Also write the answers here, as described at :class:`AnswerWriter`.
            mask_format: Instances as 'dense' masks (n, H, W), as 'rle', a list of COCO's run-length codes, or as the
                config says: 'auto', codes for photos above 4 megapixels.

        Returns:
            A result for each image, in the order of the inputs (a folder's photos sorted by name).

        Raises:
            FileNotFoundError: If an input does not exist.
            ValueError: If an image cannot be read or an argument is wrong.
        """
        return list(self.stream(inputs, tasks, token, batch_size, progress, out_dir, mask_format=mask_format))

    def stream(
        self,
        inputs: Input | Sequence[Input],
        tasks: str | Sequence[str] = TASKS,
        token: str | None = None,
        batch_size: int = 1,
        progress: bool = True,
        out_dir: str | os.PathLike[str] | None = None,
        on_broken: Callable[[Source, str], None] | None = None,
        mask_format: str | None = None,
    ) -> Iterator[OneFormerResult]:
        """Answer images one batch after the other; arguments and errors as for a call.

        Args:
            inputs: See above.
            tasks: See above.
            token: See above.
            batch_size: See above.
            progress: See above.
            out_dir: See above. An answer comes when its files are there, which are written while the next batch goes
                through the network; the JSON files, when the last answer has been fetched.
            on_broken: Called with the image and a sentence for each one that cannot be read, which is then left out;
                by default the first one raises.
            mask_format: See above.

        Returns:
            An iterator over the answers, in the order of the inputs.
        """
        tasks = check_tasks(tasks)
        if token is not None:
            check_task(token)
        if batch_size < 1:
            raise ValueError(f'A batch has at least one image, not {batch_size}; give a batch size of 1 or more.')
        sources = collect_sources(inputs)
        writer = None if out_dir is None else AnswerWriter(out_dir, sources, self.dataset_meta)
        options = {'tasks': tasks, 'token': token or self.model.test_cfg.token}
        if mask_format is not None:
            options['mask_format'] = mask_format
        return self._stream(sources, options, batch_size, progress, writer, on_broken)

    def _stream(
        self,
        sources: Sequence[Source],
        options: Mapping[str, Any],
        batch_size: int,
        progress: bool,
        writer: AnswerWriter | None,
        on_broken: Callable[[Source, str], None] | None,
    ) -> Iterator[OneFormerResult]:
        with ExitStack() as stack:
            bar = tqdm(total=len(sources), unit='image', disable=not progress or len(sources) == 1)
            stack.enter_context(bar)
            if writer is not None:
                stack.enter_context(writer)
            batches = stack.enter_context(closing(self._batches(sources, options, batch_size, on_broken, bar.update)))
            if writer is None:
                yield from (answer for batch in batches for answer in batch)
            else:
                yield from write_behind(lambda result: writer.add(result.source, result.image, result.sample), batches)

    def _batches(
        self,
        sources: Sequence[Source],
        options: Mapping[str, Any],
        batch_size: int,
        on_broken: Callable[[Source, str], None] | None,
        done: Callable[[int], object],
    ) -> Generator[list[OneFormerResult], None, None]:
        """Answer one batch after the other, while the images of the next are read."""
        with closing(read_ahead(self._read, sources, batch_size)) as images:
            while batch := list(islice(images, batch_size)):
                loaded = []
                for source, prepared in batch:
                    try:
                        loaded.append(prepared.result())
                    except ValueError as error:
                        if on_broken is None:
                            raise
                        on_broken(source, str(error))
                yield self._answer(loaded, options)
                done(len(batch))

    def prepare(self, photo: np.ndarray) -> Prepared:
        """Resize one photo for the network: the first half of an answer, in the hands of a service.

        Args:
            photo: (H, W, 3) uint8 BGR.

        Raises:
            ValueError: If it is no image.
        """
        (source,) = collect_sources(photo)
        return self._read(source)

    def logits(self, batch: Sequence[Prepared], tokens: Sequence[str] = TASKS) -> list[PhotoLogits]:
        """Send prepared photos through the network, to be answered as often as wished.

        Args:
            batch: Smaller ones are padded to the largest; those of one ``network_size`` are not.
            tokens: The task tokens that may be asked for.
        """
        data = {'inputs': [one.pixels for one in batch], 'data_samples': [one.sample for one in batch]}
        with torch.inference_mode():
            data = self.model.data_preprocessor(data, False)
            class_logits, mask_logits = self.model.answer_logits(data['inputs'], check_tasks(tokens))
        padded = (data['inputs'].shape[2], data['inputs'].shape[3])
        model = (self.model.thing_ids, self.model.test_cfg, self.dataset_meta)
        return [
            PhotoLogits(one.source, one.image, sample, tokens, classes, masks, padded, *model)
            for one, sample, classes, masks in zip(batch, data['data_samples'], class_logits, mask_logits, strict=True)
        ]

    @cached_property
    def colors(self) -> list[Color]:
        """Colour of each class, red, green, blue in 0..255."""
        return palette_colors(self.dataset_meta)

    def _read(self, source: Source) -> Prepared:
        """Load one image and prepare it for the network; ValueError if it cannot be read."""
        if source.array is not None:
            shape = source.array.shape[:2]
            results: dict[str, Any] = {'img': source.array, 'img_shape': shape, 'ori_shape': shape, 'img_path': None}
        else:
            try:
                results = self._load({'img_path': str(source.path)})
            except Exception as error:
                # The libraries raise assertions and cv2 errors that do not name the file.
                fault = image_fault(str(source.path))
                if fault is None:
                    raise
                raise ValueError(fault) from error
        image = results['img']
        packed = self._prepare({**results, 'img_id': source.name})
        divisor = self.model.data_preprocessor.pad_size_divisor
        height, width = (-(-side // divisor) * divisor for side in packed['inputs'].shape[1:])
        return Prepared(source, image, packed['inputs'], packed['data_samples'], (height, width))

    def _answer(self, batch: Sequence[Prepared], options: Mapping[str, Any]) -> list[OneFormerResult]:
        if not batch:
            return []
        tokens = (options['token'],) if options['token'] else options['tasks']
        return [photo.answer(**options) for photo in self.logits(batch, tokens)]


def _name(model: str | os.PathLike[str] | Config) -> str:
    return str(model.filename or 'this config') if isinstance(model, Config) else str(model)


def _device(device: str | torch.device | None) -> torch.device:
    """Return the device, or raise a ValueError if it is not there."""
    try:
        chosen = torch.device(device or ('cuda' if torch.cuda.is_available() else 'cpu'))
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0].rstrip('.')
        raise ValueError(
            f'Device {device} cannot be used ({reason}); choose cpu, or cuda where there is a GPU.'
        ) from error
    return chosen


def _read_config(model: str | os.PathLike[str] | Config, options: dict[str, Any] | None) -> Config:
    if not isinstance(model, Config):
        return read_config(model, options)
    cfg = model.copy()
    cfg.merge_from_dict(options or {})
    return cfg


def _pipeline(cfg: Config) -> tuple[Callable[[dict], dict], Callable[[dict], dict]]:
    """Return the config's image loader and what follows it in its test pipeline."""
    steps = cfg.test_dataloader.dataset.pipeline  # What tools/test.py and mmdet use; mmseg reads cfg.test_pipeline.
    if not str(steps[0]['type']).endswith('LoadImageFromFile'):
        raise ValueError(f'The test pipeline has to begin with LoadImageFromFile, not {steps[0]["type"]}; reorder it.')
    return TRANSFORMS.build(steps[0]), Compose(steps[1:])


def _dataset_meta(cfg: Config, meta: dict[str, Any], model: Any) -> dict[str, Any]:
    """Return classes, thing ids and palette: the checkpoint's own, else those of the config's test data set.

    Raises:
        ValueError: If neither names the classes, or there are more or fewer than the model has.
    """
    found = {key.lower(): value for key, value in (meta.get('dataset_meta') or {}).items()}
    if 'classes' not in found and cfg.get('test_dataloader') is not None:
        found = metainfo_of(cfg.test_dataloader.dataset)
    if 'classes' not in found:
        raise ValueError("Neither the weights nor the config name the classes; add metainfo to the config's data set.")
    if len(found['classes']) != model.head.num_classes:
        raise ValueError(
            f'The weights name {len(found["classes"])} classes and the model has {model.head.num_classes}; '
            'give config and weights of one model.'
        )
    return {**found, 'classes': tuple(found['classes']), 'thing_ids': tuple(model.thing_ids)}
