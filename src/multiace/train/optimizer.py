"""The optimisers, over all parameters of a model laid out as one vector."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

import torch
from torch import Tensor, nn

__all__ = ["OPTIMIZERS", "FlatParameters", "set_number"]


class FlatParameters:
    """All trainable parameters of a module as views of one vector, decayed ones first.

    One vector makes a gradient norm, an average over processes, a moving average or a checkpoint one
    operation, and the optimiser's step two (one for each weight-decay group). The module's parameters keep
    their names and shapes; only their memory is shared, so the module must stay on its device from here on.

    Args:
        module: The model; its parameters must have one dtype.
    """

    def __init__(self, module: nn.Module) -> None:
        named = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
        named.sort(key=lambda item: item[1].ndim < 2)  # stable: matrices, then biases and other vectors
        self.names = [name for name, _ in named]
        self.parameters = [parameter for _, parameter in named]
        self.vector = torch.cat([p.detach().reshape(-1) for p in self.parameters])  # [n_parameters]
        self.gradient = torch.zeros_like(self.vector)
        self.n_decayed = sum(p.numel() for p in self.parameters if p.ndim >= 2)
        self.parameters = [
            nn.Parameter(values) for values in self.views(self.vector)
        ]  # change as the vector does
        for name, parameter in zip(self.names, self.parameters, strict=True):
            owner, _, leaf = name.rpartition(".")
            setattr(module.get_submodule(owner), leaf, parameter)
        self.gradients = self.views(self.gradient)

    def views(self, vector: Tensor) -> list[Tensor]:
        """Return the parts of a vector (n_parameters,) in the shapes of the parameters."""
        parts = vector.split([p.numel() for p in self.parameters])
        return [part.view(p.shape) for part, p in zip(parts, self.parameters, strict=True)]

    def groups(self, weight_decay: float) -> list[dict]:
        """Return the two optimiser groups: matrices with weight decay, the rest without.

        On a GPU the learning rate is a number of the device, so that a captured step takes the rate of the day.
        """
        groups: list[dict] = []
        captured = {"lr": torch.zeros((), device=self.vector.device), "capturable": True}
        for part, decay in ((slice(0, self.n_decayed), weight_decay), (slice(self.n_decayed, None), 0.0)):
            view = self.vector[part].detach()
            view.grad = self.gradient[part]
            if view.numel():
                groups.append({"params": [view], "weight_decay": decay})
                groups[-1] |= captured if self.vector.is_cuda else {}
        return groups

    def differentiate(self, loss: Tensor) -> None:
        """Set ``gradient`` to dL/dw, shape (n_parameters,); zero for parameters the loss does not reach."""
        gradients = torch.autograd.grad(loss, self.parameters, materialize_grads=True)
        torch._foreach_copy_(self.gradients, gradients)

    def clip(self, max_norm: float) -> None:
        """Scale the gradient down to ``max_norm`` if it is longer, without waiting for the device."""
        norm = torch.linalg.vector_norm(self.gradient)
        self.gradient.mul_((max_norm / (norm + 1e-12)).clamp_(max=1.0))


def set_number(place: float | Tensor, value: float) -> float | Tensor:
    """Return what to keep in the place of a number: the value, or the tensor that was there, filled with it."""
    return place.fill_(value) if isinstance(place, Tensor) else value


OPTIMIZERS: dict[str, Callable[[Iterable], torch.optim.Optimizer]] = {
    "adam": partial(torch.optim.Adam, fused=True),
    "amsgrad": partial(torch.optim.Adam, amsgrad=True, fused=True),
    "adamw": partial(torch.optim.AdamW, fused=True),
}
