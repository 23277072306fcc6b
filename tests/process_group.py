"""Runs a function in several processes that form one gloo group."""

import multiprocessing
import os
import queue
import tempfile
import traceback
from collections.abc import Callable
from typing import Any

import torch
from torch import distributed

_SECONDS = 60

# The processes are forked from a server that has imported torch, which is fast, and has no threads, which is safe.
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["vqgen.stages.run"])


def run_processes(world_size: int, work: Callable[..., Any], *arguments: Any) -> list[Any]:
    """Runs `work(*arguments)` in `world_size` processes and returns the results, by rank.

    Args:
        world_size: Number of processes, at least 1.
        work: A function at the top of a module. Its result can be pickled and contains no tensor.
        arguments: The arguments of `work`.
    """
    answers = _CONTEXT.Queue()
    with tempfile.TemporaryDirectory() as folder:
        processes = [
            _CONTEXT.Process(target=_enter, args=(rank, world_size, folder, answers, work, arguments), daemon=True)
            for rank in range(world_size)
        ]
        for process in processes:
            process.start()
        try:
            found = dict(answers.get(timeout=_SECONDS) for _ in processes)
        except queue.Empty:
            found = {0: _Failed(f"no answer in {_SECONDS} seconds: the processes wait for each other")}
        for process in processes:
            process.join(_SECONDS if len(found) == world_size else 0)
            process.kill()
    errors = [text for text in found.values() if isinstance(text, _Failed)]
    assert not errors, "\n".join(str(error.text) for error in errors)
    return [found[rank] for rank in range(world_size)]


class _Failed:
    def __init__(self, text: str) -> None:
        self.text = text


def _enter(
    rank: int, world_size: int, folder: str, answers: Any, work: Callable[..., Any], arguments: tuple[Any, ...]
) -> None:
    torch.set_num_threads(1)
    launcher = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world_size, "LOCAL_WORLD_SIZE": world_size}
    # A launcher gives an address, too. The processes do not use it: they meet through the file.
    os.environ |= {
        name: str(value) for name, value in (launcher | {"MASTER_ADDR": "localhost", "MASTER_PORT": 1}).items()
    }
    try:
        distributed.init_process_group("gloo", f"file://{folder}/store", rank=rank, world_size=world_size)
        assert distributed.get_world_size() == world_size
        answers.put((rank, work(*arguments)))
        distributed.barrier()
        distributed.destroy_process_group()
    except BaseException:
        answers.put((rank, _Failed(f"rank {rank}: {traceback.format_exc()}")))
