"""A pretended GPU: tensors that report to be on one and keep their content on the CPU.

What makes the host wait for a GPU follows only from the operations, so it can be counted on any machine: a value that
Python reads, a size that depends on values, a blocking copy between host and GPU. (On a real GPU
``torch.cuda.set_sync_debug_mode`` warns about most of these.) Only for forward passes: autograd needs a driver for
backward passes.
"""

import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from mmengine.model import BaseDataPreprocessor
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

import mmseg_oneformer

GPU = torch.device('cuda', 0)
CPU = torch.device('cpu')
PACKAGE = Path(mmseg_oneformer.__file__).parent

aten = torch.ops.aten
READS = {
    aten._local_scalar_dense: 'value read',
    aten.equal: 'value read',
    aten.nonzero: 'size from values',
    aten.masked_select: 'size from values',
    aten._unique2: 'size from values',
    aten.unique_dim: 'size from values',
    aten.unique_consecutive: 'size from values',
    aten.bincount: 'size from values',
}
"""Operations that always need a result on the host."""
INDEXING = (aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_)
MAKERS = (torch.tensor, torch.as_tensor, torch.asarray, Tensor.new_tensor)
"""Functions that turn Python values into a tensor."""


class Wait(NamedTuple):
    """One wait of the host for the GPU."""

    reason: str
    """'value read', 'size from values', 'copy to the host' or 'copy to the GPU'."""
    operation: str
    place: str
    """File and line in this package, or in a library that was called from elsewhere."""


class PretendedTensor(Tensor):
    """A tensor that reports to be on the GPU."""

    content: Tensor
    waits: ClassVar[list[Wait] | None] = None
    """Where waits are recorded; None outside ``counted_waits``."""

    @staticmethod
    def __new__(cls: type, content: Tensor) -> 'PretendedTensor':
        """Wrap ``content``, which stays on the CPU."""
        # On 'meta', so that nothing in PyTorch looks for a driver; __torch_dispatch__ reports the device to Python.
        shape = torch.empty_strided(content.shape, content.stride(), dtype=content.dtype, device='meta')
        made: PretendedTensor = torch.Tensor._make_subclass(  # type: ignore[attr-defined]
            cls, shape, False, dispatch_device=True, device_for_backend_keys=GPU
        )
        made.content = content
        return made

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, function: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run ``function`` on the content; record whether the host waits."""
        if function is torch.ops.prim.device.default:
            return GPU
        kwargs = dict(kwargs or {})
        pretended = {id(leaf.content): leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, cls)}
        if not pretended and not _is_gpu(kwargs.get('device')):
            return function(*args, **kwargs)
        with _Operations():
            decomposed = function.decompose(*args, **kwargs)  # what autograd does, and inference mode leaves to others
        if decomposed is not NotImplemented:
            return decomposed
        packet = function.overloadpacket
        for reason in _reasons(packet, args, kwargs):
            note(reason, packet)
        to_host = packet is aten._to_copy and not _is_gpu(kwargs.get('device', GPU))
        to_host |= packet is aten.copy_ and not isinstance(args[0], cls)
        if 'device' in kwargs:
            kwargs['device'] = CPU
        out = function(*tree_map(_content, tuple(args)), **tree_map(_content, kwargs))

        def wrap(result: Any) -> Any:
            if to_host or not isinstance(result, Tensor):
                return result
            return pretended[id(result)] if id(result) in pretended else cls(result)  # in place, or new

        return tree_map(wrap, out)


def _reasons(packet: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Iterator[str]:
    """Why the host waits at this operation, if it does."""
    if packet in READS:
        yield READS[packet]
    elif packet is aten._to_copy and not _is_gpu(kwargs.get('device', GPU)):
        yield 'copy to the host'  # Even if non-blocking: someone has to wait before reading it.
    elif packet is aten.copy_ and not isinstance(args[0], PretendedTensor):
        yield 'copy to the host'
    elif packet is aten.copy_ and not isinstance(args[1], PretendedTensor) and args[1].dim():
        if not (args[2] if len(args) > 2 else kwargs.get('non_blocking', False)):
            yield 'copy to the GPU'
    elif packet in INDEXING:
        indices = [index for index in args[1] if index is not None]
        if any(index.dtype in (torch.bool, torch.uint8) for index in indices):
            yield 'size from values'
        yield from ('copy to the GPU' for index in indices if not isinstance(index, PretendedTensor))
    elif packet is aten.repeat_interleave and kwargs.get('output_size') is None:
        yield 'size from values'


class _Operations(TorchDispatchMode):
    """Intercepts operations without a tensor, which create one on a device."""

    def __torch_dispatch__(
        self, function: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        return PretendedTensor.__torch_dispatch__(function, types, args, kwargs)


class _Calls(TorchFunctionMode):
    """Intercepts Python calls for which PyTorch would look for a driver before any operation."""

    def __torch_function__(
        self, function: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if function is Tensor.tolist and isinstance(args[0], PretendedTensor):
            note('copy to the host', function)
            return args[0].content.tolist()
        if function in (Tensor.to, Tensor.cuda):
            return _move(function, args[0], args[1:], kwargs)
        if function in (Tensor.__getitem__, Tensor.__setitem__) and isinstance(args[0], PretendedTensor):
            parts = args[1] if isinstance(args[1], tuple) else (args[1],)
            return function(args[0], tuple(map(_index_on_gpu, parts)), *args[2:])
        if function is Tensor.new_tensor and isinstance(args[0], PretendedTensor):
            kwargs.setdefault('device', GPU)
        if _is_gpu(kwargs.get('device')):
            kwargs['device'] = CPU
            if function in MAKERS and not isinstance(args[function is Tensor.new_tensor], PretendedTensor):
                note('copy to the GPU', function)
            return PretendedTensor(function(*tree_map(_content, tuple(args)), **tree_map(_content, kwargs)))
        return function(*args, **kwargs)


def _move(function: Any, tensor: Tensor, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """Do what ``Tensor.to`` and ``Tensor.cuda`` do."""
    if function is Tensor.cuda:
        device, dtype, non_blocking = GPU, tensor.dtype, kwargs.get('non_blocking', False)
    elif isinstance(other := args[0] if args else kwargs.get('other'), Tensor):
        device, dtype, non_blocking = other.device, other.dtype, kwargs.get('non_blocking', False)
    else:
        device, dtype, non_blocking, _ = torch._C._nn._parse_to(*args, **kwargs)
    if not _is_gpu(device):
        return function(tensor, *args, **kwargs)
    dtype = dtype or tensor.dtype
    if isinstance(tensor, PretendedTensor):
        return tensor if tensor.dtype == dtype else tensor.to(dtype)
    if not non_blocking:
        note('copy to the GPU', function)
    return PretendedTensor(tensor.to(dtype, copy=True))


def _index_on_gpu(part: Any) -> Any:
    """Return a list in an index as the GPU tensor that PyTorch makes from it."""
    if not isinstance(part, list):
        return part
    note('copy to the GPU', Tensor.__getitem__)
    return PretendedTensor(torch.tensor(part))


@contextmanager
def counted_waits() -> Iterator[list[Wait]]:
    """Pretend a GPU within this context, and record all waits for it in the list that is returned."""
    waits: list[Wait] = []
    PretendedTensor.waits = waits
    if not torch.cuda.is_available():
        torch._C._ensureCUDADeviceGuardSet()  # type: ignore[attr-defined]  # as PyTorch's own FakeTensor does
    try:
        with torch.backends.cudnn.flags(enabled=False), sdpa_kernel(SDPBackend.MATH), _Operations(), _Calls():
            yield waits
    finally:
        PretendedTensor.waits = None


def move(model: nn.Module) -> None:
    """Move parameters and buffers to the pretended GPU."""
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                module._parameters[name] = nn.Parameter(PretendedTensor(parameter.detach()))
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = PretendedTensor(buffer)
        if isinstance(module, BaseDataPreprocessor):
            module._device = GPU  # where it moves the batch


def note(reason: str, operation: Callable[..., Any]) -> None:
    """Record that the host waits here."""
    if PretendedTensor.waits is not None:
        PretendedTensor.waits.append(Wait(reason, operation.__name__, _place()))


def _is_gpu(device: Any) -> bool:
    return device is not None and torch.device(device).type == 'cuda'


def _content(leaf: Any) -> Any:
    return leaf.content if isinstance(leaf, PretendedTensor) else leaf


def _place() -> str:
    """Return the innermost line of this package or, if there is none, of code outside PyTorch."""
    frames = [frame for frame in traceback.extract_stack() if Path(frame.filename) != Path(__file__)]
    ours = [frame for frame in frames if PACKAGE in Path(frame.filename).parents]
    others = [frame for frame in frames if '/torch/' not in frame.filename]
    frame = (ours or others or frames)[-1]
    path = Path(frame.filename)
    name = path.relative_to(PACKAGE) if ours else Path(*path.parts[-3:])
    return f'{name.as_posix()}:{frame.lineno}'
