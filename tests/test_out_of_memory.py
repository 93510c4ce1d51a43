import pytest
import torch

from mmseg_oneformer.errors import UserError
from mmseg_oneformer.out_of_memory import explain_out_of_memory


@pytest.mark.parametrize(('error', 'where'), [(MemoryError, 'of this machine'), (torch.OutOfMemoryError, 'of the GPU')])
def test_explain_out_of_memory(error, where):
    with pytest.raises(UserError, match=f'The memory {where} ran out; use less'), explain_out_of_memory('use less'):
        raise error
    with pytest.raises(RuntimeError, match='shapes'), explain_out_of_memory('use less'):
        raise RuntimeError('shapes')
