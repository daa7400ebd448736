"""What a CUDA graph does, without a GPU: operations are recorded once, then run again without Python."""

from __future__ import annotations

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

WAITING = {
    "aten::_local_scalar_dense",  # .item(), float(tensor), if tensor
    "aten::nonzero",
    "aten::masked_select",
    "aten::lift_fresh",  # torch.tensor(numbers): a copy from the host
    "aten::unique_dim",
    "aten::_unique2",
    "aten::repeat_interleave.Tensor",
    "aten::bincount",
    "aten::is_nonzero",
    "aten::equal",
}
"""Operations for which the host waits for the device, or the device for the host: none can be captured."""


class Recorder(TorchDispatchMode):
    """Records every operation; runs them all, and takes back what they changed outside."""

    def __init__(self) -> None:
        super().__init__()
        self.calls, self.made, self.of_storage, self.before = [], {}, {}, {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = function._schema.name
        if name in WAITING or f"{name}.{function._overloadname}" in WAITING:
            raise RuntimeError(f"{function} cannot be captured")
        given = [tensor for tensor in tree_flatten((args, kwargs))[0] if isinstance(tensor, torch.Tensor)]
        if "index" in name and any(tensor.dtype == torch.bool for tensor in given):
            raise RuntimeError(f"{function} by a mask cannot be captured")
        for tensor in given:
            self.see(tensor)
        results = function(*args, **kwargs)
        self.record(function, args, kwargs, results)
        return results

    def see(self, tensor: torch.Tensor) -> None:
        """Note what a tensor from outside holds; autograd may bring one that was made here under another name."""
        storage = tensor.untyped_storage()
        if id(tensor) in self.made or storage._cdata in self.before:
            return
        if storage._cdata in self.of_storage:
            place = tensor.size(), tensor.stride(), tensor.storage_offset()
            self.record(torch.as_strided, (self.of_storage[storage._cdata], *place), {}, tensor)
        else:
            self.before[storage._cdata] = (storage, storage.clone())

    def record(self, function, args, kwargs, results) -> None:
        self.calls.append((function, args, kwargs, results))
        for tensor in tree_flatten(results)[0]:
            if isinstance(tensor, torch.Tensor) and tensor.untyped_storage()._cdata not in self.before:
                self.made[id(tensor)] = tensor
                self.of_storage.setdefault(tensor.untyped_storage()._cdata, tensor)


def recorded(run):
    """As :func:`multiace.model.replay.captured`, on any device."""
    recorder = Recorder()
    with recorder:
        results = run()
    for storage, value in recorder.before.values():
        storage.copy_(value)

    def replay():
        now = {}

        def current(value):
            return now.get(id(value), value) if isinstance(value, torch.Tensor) else value

        with torch.no_grad():
            for function, args, kwargs, made in recorder.calls:
                again = function(*tree_map(current, args), **tree_map(current, kwargs))
                pairs = zip(tree_flatten(made)[0], tree_flatten(again)[0], strict=True)
                now |= {id(old): new for old, new in pairs if id(old) in recorder.made}
        return tuple(current(result) for result in results)

    return replay
