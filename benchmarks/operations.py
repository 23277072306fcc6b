"""Shares of a call's time by kind of operation, from torch's profiler."""

from collections.abc import Callable

from torch.profiler import ProfilerActivity, profile

GROUPS = {
    "products": ("mm", "addmm", "bmm", "baddbmm", "convolution", "mkldnn_convolution", "convolution_backward"),
    "attention": ("_scaled_dot_product",),
    "dropout": ("bernoulli_", "native_dropout", "random_", "vqgen::dropout_mask"),
    "gathers and copies": ("index_select", "index_add_", "cat", "copy_", "fill_", "gather", "index"),
    "optimizer": ("_fused_adamw_", "_foreach"),
}
"""Group -> its operations. An entry with a leading underscore is a prefix. All other operations are "the rest"."""


def time_shares(run: Callable[[], object]) -> dict[str, float]:
    """Profiles one call on the CPU.

    Args:
        run: The call. It should be warmed up.

    Returns:
        Group of operations -> its share of the time of all operations. The time of an operation excludes the operations
        that it calls.
    """
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        run()
    seconds = dict.fromkeys((*GROUPS, "the rest"), 0.0)
    for event in profiled.key_averages():
        seconds[group_of(event.key.removeprefix("aten::"))] += event.self_cpu_time_total
    total = sum(seconds.values())
    return {group: value / total for group, value in seconds.items()}


def group_of(operation: str) -> str:
    """Returns the group of an operation."""
    for group, names in GROUPS.items():
        if operation in names or any(operation.startswith(name) for name in names if name.startswith("_")):
            return group
    return "the rest"
