import numpy as np
import pytest
import torch

from vqgen.errors import DataError
from vqgen.runtime.memory_errors import is_out_of_memory, named_memory_errors, not_enough_memory


def test_arrays_that_no_machine_holds_are_out_of_memory():
    """The real errors of NumPy and torch: both ask the system for 2^50 bytes, more than an address space holds free."""
    for allocate in (lambda: np.empty(1 << 50, dtype=np.uint8), lambda: torch.empty(1 << 50, dtype=torch.uint8)):
        with pytest.raises((MemoryError, RuntimeError)) as caught:
            allocate()
        assert is_out_of_memory(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
        RuntimeError("MPS backend out of memory (MPS allocated: 9.0 GB)"),
        RuntimeError("could not create a memory object"),
        RuntimeError("could not create a primitive"),
        RuntimeError("std::bad_alloc"),
        RuntimeError("can't start new thread"),
    ],
)
def test_errors_of_all_libraries_name_the_work(error):
    match = r"^an image of 5 x 4 takes about 12 MB beside the program: .*, found less"
    with pytest.raises(DataError, match=match), named_memory_errors("an image of 5 x 4", 12_000_000):
        raise error


@pytest.mark.parametrize("error", [RuntimeError("shapes do not match"), ValueError("bad"), DataError("other")])
def test_other_errors_pass(error):
    with pytest.raises(type(error)) as caught, named_memory_errors("an image", 1):
        raise error
    assert caught.value is error


def test_free_memory_is_named_if_it_is_known():
    text = str(not_enough_memory("an image", 2_000_000_000, free=300_000_000))
    assert "takes about 2000 MB" in text
    assert "found 300 MB" in text
    assert "scale or crop it" in text
