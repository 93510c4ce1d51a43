import cv2
import numpy as np
import pytest
import torch

from mmseg_oneformer.errors import UserError
from mmseg_oneformer.out_of_memory import explain_out_of_memory


@pytest.mark.parametrize(
    ('error', 'where'),
    [
        (MemoryError, 'of this machine'),
        (torch.OutOfMemoryError, 'of the GPU'),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), 'of this machine'),
        (RuntimeError('CUDA error: out of memory'), 'of the GPU'),
        (RuntimeError('CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate'), 'of the GPU'),
    ],
)
def test_explain_out_of_memory(error, where):
    with pytest.raises(UserError, match=f'The memory {where} ran out; use less'), explain_out_of_memory('use less'):
        raise error
    with pytest.raises(RuntimeError, match='shapes'), explain_out_of_memory('use less'):
        raise RuntimeError('shapes')


def test_explain_out_of_memory__of_opencv():
    with pytest.raises(UserError, match='of this machine ran out'), explain_out_of_memory('use less'):
        cv2.resize(np.zeros((2, 2), np.uint8), (1 << 22, 1 << 22))
    with pytest.raises(cv2.error), explain_out_of_memory('use less'):
        cv2.resize(np.zeros((0, 0), np.uint8), (2, 2))
