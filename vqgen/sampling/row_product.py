"""Products of a few rows with one fixed matrix, the work of a sampler at every step.

Legend: `r` rows, `c` channels in, `out` channels out.
"""

import torch
from jaxtyping import Float
from torch import Tensor

# Below one of these, the call costs more than the better layout saves.
_FEWEST_ROWS = 4
_FEWEST_WEIGHTS = 2**17


class RowProduct:
    """Multiplies rows by the transpose of a matrix and adds a tensor: `added + rows @ matrix.T`.

    On a CPU a large matrix is stored in the blocked layout of oneDNN. This layout is faster for a few rows. A plain
    product is faster for one row, and for very many.

    Args:
        matrix: The weights. They should not change afterwards: they may be copied.
        most_rows: The largest number of rows in a call.
    """

    def __init__(self, matrix: Float[Tensor, "out c"], most_rows: int) -> None:
        self.in_channels = matrix.shape[1]
        self._is_packed = packs(matrix, most_rows)
        self._matrix = torch.ops.mkldnn._reorder_linear_weight(matrix, most_rows) if self._is_packed else matrix.T

    def __call__(self, rows: Float[Tensor, "r c"], added: Float[Tensor, "r out"]) -> Float[Tensor, "r out"]:
        """Computes `added + rows @ matrix.T`."""
        if self._is_packed:
            # One call with the addition fused: a second pass over the result would cost as much as a short product.
            return torch.ops.mkldnn._linear_pointwise.binary(rows, added, self._matrix, None, "add")
        return torch.addmm(added, rows, self._matrix)


def packs(matrix: Float[Tensor, "out c"], most_rows: int) -> bool:
    """Returns True if the blocked layout pays and this build of torch has its operators, which are not public."""
    return (
        matrix.device.type == "cpu"
        and matrix.dtype in (torch.float32, torch.bfloat16)
        and most_rows >= _FEWEST_ROWS
        and matrix.numel() >= _FEWEST_WEIGHTS
        and torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
        and (matrix.dtype == torch.float32 or torch.ops.mkldnn._is_mkldnn_bf16_supported())
    )
