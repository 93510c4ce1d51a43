"""Photos in, answers out: the three lines of Python that most users need.

Decisions:
* A call keeps nothing: tasks and token are arguments, and the model's own settings are as before after it.
* Inside, images are BGR, as everywhere in OpenMMLab; files are read by the config's own loader. Arrays and tensors come
  with their channel order: guessing it wrong would cost accuracy without a sign.
* ``stream`` holds one batch at a time, the images of the next, and the answers of the last while they are written, for
  folders whose answers do not fit in memory. Reading and writing overlap with the network; order and errors are those
  of one after the other.
"""

import os
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from functools import cached_property, partial
from itertools import islice
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from tqdm import tqdm

from ..checkpoints.checkpoint import for_inference, load_weights
from ..models.precision import check_dtype, use_dtype
from ..tasks import TASKS, check_task, check_tasks
from ..visualization.colors import Color, palette_colors
from ..zoo.weights import find_weights, resolve_weights
from .model_loading import build_model, choose_device, dataset_meta_of, model_config, model_name
from .photo_logits import PhotoLogits
from .pipelining import read_ahead, write_behind
from .preprocessing import PhotoLoader, PreparedPhoto
from .results import OneFormerResult, PredictionWriter, VideoWriter
from .sources import Input, Source, Video, collect_sources
from .videos import count_images, each_image


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
        self.device = choose_device(device)
        cfg = model_config(model, cfg_options)
        if dtype is not None:
            use_dtype(cfg, check_dtype(dtype, self.device))
        if weights is not None:
            weights = resolve_weights(weights)
        elif not isinstance(model, Config):
            weights = find_weights(model, download=True)
        if weights is None:
            raise ValueError(
                f'No weights are shipped or published for {model_name(model)}; give the path of its weights.'
            )
        self.cfg = for_inference(cfg)
        with DefaultScope.overwrite_default_scope(self.cfg.get('default_scope', 'mmdet')):
            self.model = build_model(self.cfg)
            meta = load_weights(self.model, weights)
            self.dataset_meta = dataset_meta_of(self.cfg, meta, self.model)
            self._load = PhotoLoader(self.cfg, self.model.data_preprocessor.pad_size_divisor)
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
        *,
        channel_order: str | None = None,
        allow_urls: bool = False,
        max_frames: int | None = None,
    ) -> list[OneFormerResult]:
        """Answer images, and hold all answers in memory.

        Args:
            inputs: One or a list of: path of a photo or video; folder (all its photos); glob pattern; uint8 array
                (H, W, 3); tensor (B, 3, H, W), uint8 or floating point in 0..1; PIL image; number of a camera;
                http(s) address of a photo.
            tasks: 'semantic', 'instance', 'panoptic' or several of them.
            token: The task whose token is used for all answers; by default each has its own.
            batch_size: Images that go through the network together. Smaller ones are padded to the largest, which
                changes their answers a little; 1 gives the exact ones.
            progress: Show a progress bar for more than one image.
            out_dir: Also write the predictions here: those of photos as described at :class:`PredictionWriter`, those
                of videos as at :class:`VideoWriter`.
            mask_format: Instances as 'dense' masks (n, H, W), as 'rle', a list of COCO's run-length codes, or as the
                config says: 'auto', codes for photos above 4 megapixels.
            channel_order: 'rgb' or 'bgr', of arrays and tensors, which do not say it themselves.
            allow_urls: Fetch photos whose addresses are given; refused by default, since inputs may come from
                strangers.
            max_frames: Of each video at most.

        Returns:
            A result for each image, in the order of the inputs (a folder's photos sorted by name).

        Raises:
            FileNotFoundError: If an input does not exist.
            ValueError: If an image cannot be read or an argument is wrong.
        """
        given = inputs if isinstance(inputs, list | tuple) else [inputs]
        if max_frames is None and any(isinstance(item, int) for item in given):
            raise ValueError('A camera has no end; give max_frames, or use stream() and leave it when you like.')
        answers = self.stream(
            inputs,
            tasks,
            token,
            batch_size,
            progress,
            out_dir,
            mask_format=mask_format,
            channel_order=channel_order,
            allow_urls=allow_urls,
            max_frames=max_frames,
        )
        return list(answers)

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
        *,
        channel_order: str | None = None,
        allow_urls: bool = False,
        max_frames: int | None = None,
    ) -> Generator[OneFormerResult, None, None]:
        """Answer images and frames one batch after the other; arguments and errors as for a call.

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
            channel_order: See above.
            allow_urls: See above.
            max_frames: See above. A camera goes on until the iterator is left.

        Returns:
            A generator of the answers, in the order of the inputs; its ``close()`` ends a camera.
        """
        tasks = check_tasks(tasks)
        if token is not None:
            check_task(token)
        for value, name in ((batch_size, 'batch size'), (max_frames, 'max_frames')):
            if value is not None and value < 1:
                raise ValueError(f'A {name} of {value} leaves no image; give 1 or more.')
        options = {'tasks': tasks, 'token': token or self.model.test_cfg.token}
        if mask_format is not None:
            options['mask_format'] = mask_format
        items, writers = collect_sources(inputs, channel_order, allow_urls), None
        if out_dir is not None:
            photos = PredictionWriter(out_dir, [item for item in items if isinstance(item, Source)], self.dataset_meta)
            videos = VideoWriter(out_dir, [item for item in items if isinstance(item, Video)], self.dataset_meta)
            writers = photos, videos
        count = count_images(items, max_frames)
        bar = partial(tqdm, total=count, unit='image', disable=not progress or count == 1)
        return self._stream(each_image(items, max_frames), options, batch_size, bar, writers, on_broken)

    def _stream(
        self,
        sources: Generator[Source, None, None],
        options: Mapping[str, Any],
        batch_size: int,
        bar: Callable[[], tqdm],
        writers: tuple[PredictionWriter, VideoWriter] | None,
        on_broken: Callable[[Source, str], None] | None,
    ) -> Generator[OneFormerResult, None, None]:
        with ExitStack() as stack:
            done = stack.enter_context(bar()).update
            for writer in writers or ():
                stack.enter_context(writer)
            stack.enter_context(closing(sources))
            batches = stack.enter_context(closing(self._batches(sources, options, batch_size, on_broken, done)))
            if writers is None:
                yield from (answer for batch in batches for answer in batch)
                return
            photos, videos = writers

            def write(result: OneFormerResult) -> None:
                (photos if result.source.frame is None else videos).add(result.source, result.image, result.sample)

            yield from write_behind(write, batches)

    def _batches(
        self,
        sources: Iterable[Source],
        options: Mapping[str, Any],
        batch_size: int,
        on_broken: Callable[[Source, str], None] | None,
        done: Callable[[int], object],
    ) -> Generator[list[OneFormerResult], None, None]:
        """Answer one batch after the other, while the images of the next are read."""
        with closing(read_ahead(self._load, sources, batch_size)) as images:
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

    def prepare(self, photo: np.ndarray) -> PreparedPhoto:
        """Resize one photo for the network: the first half of an answer, in the hands of a service.

        Args:
            photo: (H, W, 3) uint8 BGR.

        Raises:
            ValueError: If it is no image.
        """
        (source,) = collect_sources(photo, channel_order='bgr')
        assert isinstance(source, Source)
        return self._load(source)

    def logits(self, batch: Sequence[PreparedPhoto], tokens: Sequence[str] = TASKS) -> list[PhotoLogits]:
        """Send prepared photos through the network, to be answered as often as wished.

        Args:
            batch: Smaller ones are padded to the largest; those of one ``network_size`` are not.
            tokens: The task tokens that may be asked for.
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

    @cached_property
    def colors(self) -> list[Color]:
        """Colour of each class, red, green, blue in 0..255."""
        return palette_colors(self.dataset_meta)

    @property
    def known_classes(self) -> str:
        """How many classes the model knows, and the names of the first eight."""
        names = [name if len(name) <= 40 else f'{name[:37]}...' for name in self.dataset_meta['classes']]
        return f'{len(names)} classes: {", ".join(names[:8])}{", ..." if len(names) > 8 else ""}'

    def _answer(self, batch: Sequence[PreparedPhoto], options: Mapping[str, Any]) -> list[OneFormerResult]:
        if not batch:
            return []
        tokens = (options['token'],) if options['token'] else options['tasks']
        return [photo.answer(**options) for photo in self.logits(batch, tokens)]
