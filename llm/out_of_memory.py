"""How an error says that memory ran out."""

import errno

# In torch's RuntimeErrors of CUDA and MPS, of its libraries (cuBLAS, cuDNN, cuSOLVER, cuSPARSE: CUBLAS_STATUS_...), of
# its own allocator on a CPU, of C++ and of oneDNN, which gives no reason; in the ImportErrors of a library's loader.
SIGNS = (
    *("out of memory", "_STATUS_ALLOC_FAILED", "DefaultCPUAllocator", "bad_alloc", "could not create a primitive"),
    *("failed to map segment", "Cannot allocate memory"),
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out, on whichever device."""
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError | ImportError) and any(sign in str(error) for sign in SIGNS)
