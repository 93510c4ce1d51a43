"""Photos in, predictions out: the three lines of Python that most users need.

Decisions:
* A call changes no state: tasks and token are arguments, and the model's own settings are restored afterwards.
* Internally, images are BGR, as everywhere in OpenMMLab; files are read by the config's own loader. The channel order
  of arrays and tensors must be stated: a wrong guess would silently cost accuracy.
* ``stream`` holds one batch at a time, the images of the next, and the results of the last while they are written, for
  folders whose results do not fit in memory. Reading and writing overlap with the network; order and errors are the
  same as without the overlap.
"""

import os
import zlib
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import ExitStack, closing
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias, overload

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from ..checkpoints.checkpoint import for_inference, load_weights
from ..errors import NoMemoryError, UserError
from ..models.precision import check_dtype, use_dtype
from ..out_of_memory import explain_out_of_memory
from ..tasks import TASKS, check_tasks
from ..visualization.colors import Color, palette_colors
from ..zoo.weights import find_weights, missing_weights, resolve_weights
from .model_loading import build_model, choose_device, dataset_meta_of, model_config, model_name
from .options import InferenceOptions
from .photo_logits import PhotoLogits
from .pipelining import read_ahead, write_behind
from .preprocessing import PhotoLoader, PreparedPhoto
from .results import OneFormerResult, PredictionWriter, VideoWriter
from .sources import Input, Source, Video, collect_sources, is_one_photo
from .videos import count_images, each_image

Tasks: TypeAlias = str | Sequence[str]


class OneFormerInferencer:
    """Makes predictions for photos with one model.

    Example:
        >>> infer = OneFormerInferencer('oneformer_swin-l_8xb2-100e_coco-1024x1024')
        >>> infer('photo.jpg', tasks='panoptic').panoptic.segments
        >>> [result.panoptic.segments for result in infer(['photo.jpg', 'other.jpg'])]

    Args:
        model: Name of a model, path of a config, or a config.
        weights: A checkpoint in any public format, or its https address; by default those of the model's name, which
            are shipped, cached or downloaded.
        device: Such as 'cpu' or 'cuda:1'; by default a GPU if there is one.
        cfg_options: Settings that override the config.
        dtype: Number format of the network: 'fp32', 'bf16', or 'fp16' on a GPU; by default the config's, which is fp32.
            Half precision changes few pixels.
        compile: Compile the network (``torch.compile``), which takes a minute or more at the first images. For GPUs: on
            the CPU tested, compiled networks were slower (docs/performance.md).

    Raises:
        FileNotFoundError: If the weights do not exist.
        UserError: If there is no such model, its weights are unknown or do not fit, or the device does not exist.
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
        if not isinstance(model, str | os.PathLike | Config):
            raise UserError(f'{model!r} is not a model; give the name of a model, the path of a config, or a config.')
        self.device = choose_device(device)
        cfg = model_config(model, cfg_options)
        if dtype is not None:
            use_dtype(cfg, check_dtype(dtype, self.device))
        if weights is not None:
            weights = resolve_weights(weights)
        elif not isinstance(model, Config):
            weights = find_weights(model, download=True)
        if weights is None:
            raise missing_weights(model_name(model))
        self.cfg = for_inference(cfg)
        with DefaultScope.overwrite_default_scope(self.cfg.get('default_scope', 'mmdet')):
            self.model = build_model(self.cfg)
            meta = load_weights(self.model, weights)
            self.dataset_meta = dataset_meta_of(self.cfg, meta, self.model)
            self._load = PhotoLoader(self.cfg, self.model.data_preprocessor.pad_size_divisor)
        status = Path(weights).stat()
        # What a run that is resumed must have in common with the one that was interrupted.
        settings = zlib.crc32(repr(self.cfg.to_dict()).encode())
        self._identity = [model_name(cfg), settings, str(weights), status.st_size, status.st_mtime_ns]
        self.model.cfg, self.model.dataset_meta = self.cfg, self.dataset_meta
        self.model.to(self.device).eval()
        if compile:
            self.model.compile_network()

    @overload
    def __call__(
        self, inputs: str | os.PathLike[str], tasks: Tasks = ..., token: str | None = ..., **options: Any
    ) -> Any: ...

    @overload
    def __call__(
        self, inputs: np.ndarray | Image.Image, tasks: Tasks = ..., token: str | None = ..., **options: Any
    ) -> OneFormerResult: ...

    @overload
    def __call__(
        self, inputs: Sequence[Input] | Tensor | int, tasks: Tasks = ..., token: str | None = ..., **options: Any
    ) -> list[OneFormerResult]: ...

    def __call__(
        self, inputs: Input | Sequence[Input], tasks: Tasks = TASKS, token: str | None = None, **options: Any
    ) -> OneFormerResult | list[OneFormerResult]:
        """Predict for one photo, or for several, all of whose results are held in memory.

        Args:
            inputs: One or a list of: path of a photo or video; folder (all its photos); glob pattern; uint8 array
                (H, W, 3); tensor (B, 3, H, W), uint8 or floating point in 0..1; PIL image; number of a camera;
                http(s) address of a photo.
            tasks: 'semantic', 'instance', 'panoptic' or several of them.
            token: The task whose token is used for all predictions; by default each has its own.
            **options: Fields of :class:`InferenceOptions`, such as ``batch_size`` and ``out_dir``.

        Returns:
            For a single photo (a path or address of a photo, an array, a PIL image), its result. For everything that
            can stand for several photos, however many there are (a list, a folder, whose photos are sorted by name, a
            pattern, a video or camera, a tensor), a list of results in the order of the inputs.

        Raises:
            FileNotFoundError: If an input does not exist.
            UserError: If an image cannot be read or an argument is wrong.
        """
        single = is_one_photo(inputs)
        if single and options.get('on_broken') is not None:
            raise UserError('on_broken leaves photos out of a list; put the one photo into a list, or leave it out.')
        given = inputs if isinstance(inputs, list | tuple) else [inputs]
        if options.get('max_frames') is None and any(isinstance(item, int) for item in given):
            raise UserError('A camera has no end; give max_frames, or use stream() and leave it when you like.')
        results = list(self.stream(inputs, tasks, token, **options))
        return results[0] if single else results

    def stream(
        self,
        inputs: Input | Sequence[Input],
        tasks: Tasks = TASKS,
        token: str | None = None,
        **options: Any,
    ) -> Generator[OneFormerResult, None, None]:
        """Predict for images and frames one batch at a time; arguments and errors as for a call.

        Returns:
            A generator of the results, in the order of the inputs; its ``close()`` stops a camera.
        """
        chosen = InferenceOptions.of_call(tasks=tasks, token=token, **options)
        items = collect_sources(inputs, chosen.channel_order, chosen.allow_urls, chosen.allow_private_urls)
        writers = None
        if chosen.out_dir is not None:
            photos = [item for item in items if isinstance(item, Source)]
            videos = [item for item in items if isinstance(item, Video)]
            settings = {'model': self._identity, 'tasks': chosen.tasks, 'token': chosen.token, **chosen.thresholds}
            settings['max_frames'] = chosen.max_frames
            writer = PredictionWriter(
                chosen.out_dir, photos, self.dataset_meta, resume=chosen.resume, settings=settings
            )
            writers = writer, VideoWriter(chosen.out_dir, videos, self.dataset_meta, journal=writer.journal)
            items = [item for item in items if not writer.journal.is_done(item)]
        count = count_images(items, chosen.max_frames)
        bar = partial(tqdm, total=count, unit='image', disable=not chosen.progress or count == 1)
        return self._stream(each_image(items, chosen.max_frames), chosen, bar, writers)

    def _stream(
        self,
        sources: Generator[Source, None, None],
        options: InferenceOptions,
        bar: Callable[[], tqdm],
        writers: tuple[PredictionWriter, VideoWriter] | None,
    ) -> Generator[OneFormerResult, None, None]:
        with ExitStack() as stack:
            done = stack.enter_context(bar()).update
            for writer in writers or ():
                stack.enter_context(writer)
            stack.enter_context(closing(sources))
            batches = stack.enter_context(closing(self._batches(sources, options, done)))
            if writers is None:
                yield from (result for batch in batches for result in batch)
                return
            photos, videos = writers

            def write(result: OneFormerResult) -> None:
                (photos if result.source.frame is None else videos).add(result.source, result.image, result.sample)

            yield from write_behind(write, batches)

    def _batches(
        self,
        sources: Iterable[Source],
        options: InferenceOptions,
        done: Callable[[int], object],
    ) -> Generator[list[OneFormerResult], None, None]:
        """Predict one batch at a time, while the images of the next are read."""
        with closing(read_ahead(self._load, sources, options.batch_size)) as images:
            while batch := list(islice(images, options.batch_size)):
                loaded = []
                for source, prepared in batch:
                    try:
                        loaded.append(prepared.result())
                    except (ValueError, MemoryError) as error:
                        if options.on_broken is None:
                            raise
                        options.on_broken(source, str(error) or 'it is too large for the memory of this machine.')
                yield self._predict_or_skip(loaded, options)
                done(len(batch))

    def _predict_or_skip(self, batch: Sequence[PreparedPhoto], options: InferenceOptions) -> list[OneFormerResult]:
        """Predict for a batch; if memory runs out, photo by photo, skipping those that are too large."""
        try:
            return self._predict(batch, options)
        except NoMemoryError as error:
            if options.on_broken is None:
                raise
            if len(batch) > 1:
                return [result for one in batch for result in self._predict_or_skip([one], options)]
            options.on_broken(batch[0].source, str(error))
            return []

    def decode(self, data: bytes, name: str, max_pixels: int) -> np.ndarray:
        """Decode the bytes of a file, for a service, to a photo (H, W, 3) uint8 BGR.

        Args:
            data: The file's bytes; they may be untrusted.
            name: How errors name it.
            max_pixels: A photo with more is not decoded.

        Raises:
            PhotoError: It is not in a supported format, or it is damaged or too large.
        """
        return self._load.decode(data, name, max_pixels)

    def prepare(self, photo: np.ndarray) -> PreparedPhoto:
        """Resize one photo for the network: the first half of a prediction, for a service.

        Args:
            photo: (H, W, 3) uint8 BGR.

        Raises:
            UserError: If it is not an image.
        """
        (source,) = collect_sources(photo, channel_order='bgr')
        assert isinstance(source, Source)
        return self._load(source)

    def logits(self, batch: Sequence[PreparedPhoto], tokens: Sequence[str] = TASKS) -> list[PhotoLogits]:
        """Run the network on prepared photos; any number of predictions can then be made from its output.

        Args:
            batch: Smaller ones are padded to the largest; photos of the same ``network_size`` are not.
            tokens: The task tokens that predictions may need.
        """
        data = {'inputs': [one.pixels for one in batch], 'data_samples': [one.sample for one in batch]}
        with torch.inference_mode():
            data = self.model.data_preprocessor(data, False)
            class_logits, mask_logits = self.model.predict_logits(data['inputs'], check_tasks(tokens))
        padded = (data['inputs'].shape[2], data['inputs'].shape[3])
        model = (self.model.post_process, self.dataset_meta)
        return [
            PhotoLogits(one.source, one.image, sample, tokens, classes, masks, padded, *model)
            for one, sample, classes, masks in zip(batch, data['data_samples'], class_logits, mask_logits, strict=True)
        ]

    def __repr__(self) -> str:
        """Return the model, its classes and its device."""
        return (
            f'OneFormerInferencer({model_name(self.cfg)}, {len(self.dataset_meta["classes"])} classes, {self.device})'
        )

    @cached_property
    def colors(self) -> list[Color]:
        """Colour of each class: red, green and blue in 0..255."""
        return palette_colors(self.dataset_meta)

    @property
    def known_classes(self) -> str:
        """The number of classes of the model, and the names of the first eight."""
        names = [name if len(name) <= 40 else f'{name[:37]}...' for name in self.dataset_meta['classes']]
        return f'{len(names)} classes: {", ".join(names[:8])}{", ..." if len(names) > 8 else ""}'

    def _predict(self, batch: Sequence[PreparedPhoto], options: InferenceOptions) -> list[OneFormerResult]:
        if not batch:
            return []
        tasks, token = check_tasks(options.tasks), options.token or self.model.test_cfg.token
        with explain_out_of_memory('give a smaller batch_size or smaller photos, or dtype="bf16"'):
            photos = self.logits(batch, tasks if token is None else (token,))
            return [photo.predict(tasks, token, **options.thresholds) for photo in photos]
