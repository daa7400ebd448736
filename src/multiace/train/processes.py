"""Processes and devices: launch, threads, sums over processes. Lightning Fabric does the work."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import LightningEnvironment
from torch import Tensor

from multiace.errors import InputError
from multiace.train.config import TrainConfig

__all__ = ["add_over_processes", "cpu_threads", "keep_memory", "launch"]

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h


def launch(config: TrainConfig) -> Fabric:
    """Start the processes and choose their devices.

    Raises:
        InputError: If there is no such device, or if torchrun started another number of processes.
    """
    available = torch.cuda.device_count()
    device = ("cuda" if available else "cpu") if config.device == "auto" else config.device
    if device == "cuda" and available < config.devices:
        raise InputError(
            f"train.device = cuda with train.devices = {config.devices}, but {available} GPUs are visible; "
            "set train.device = cpu, or lower train.devices."
        )
    expected = config.devices * config.num_nodes
    by_torchrun = torch.distributed.is_torchelastic_launched()
    started = int(os.environ["WORLD_SIZE"]) if by_torchrun else expected
    if started != expected:
        raise InputError(
            f"torchrun started {started} processes, but train.devices x train.num_nodes = {expected}; "
            "make them equal."
        )
    by_slurm = (
        "SLURM_NTASKS" in os.environ and expected > 1
    )  # one process needs none, whatever tasks its job has
    fabric = Fabric(
        accelerator=device,
        strategy=config.strategy,
        devices=config.devices,
        num_nodes=config.num_nodes,
        plugins=None if by_torchrun or by_slurm else LightningEnvironment(),
    )
    fabric.launch()
    return fabric


@contextmanager
def cpu_threads(number: int | None) -> Iterator[None]:
    """Use this number of CPU threads inside the ``with`` block."""
    before = torch.get_num_threads()
    torch.set_num_threads(number or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def keep_memory() -> None:
    """Let the C library keep what is freed for the next step, where it can (glibc).

    Given back to the system, memory returns page by page, zeroed: a twentieth to a tenth of a step.
    """
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # another C library
        return
    set_option(M_TRIM_THRESHOLD, 2**31 - 1)
    set_option(M_MMAP_THRESHOLD, 2**30)


def add_over_processes(fabric: Fabric, tensor: Tensor) -> Tensor:
    """Return the sum of a tensor over all processes."""
    if fabric.world_size == 1:
        return tensor
    total = fabric.all_reduce(tensor, reduce_op="sum")
    assert isinstance(total, Tensor)
    return total
