"""Stochastic gradient descent as torch has it, without what torch does around each step."""

from __future__ import annotations

import torch
from torch import Tensor

from regulens.models.regularizers import ParameterGroups


class SGD:
    """Plain SGD with momentum: the updates of ``torch.optim.SGD``, over all tensors of a group at once.

    A step also drops the gradients, so that their memory is used again by the next forward pass. The optimiser of
    torch spends a tenth of a small network's step on hooks, checks and grouping (docs/performance.md).

    Args:
        groups: as torch's optimisers take them: ``params``, and where they differ ``lr``, ``momentum`` and
            ``weight_decay``.
        learning_rate: of the groups that name none.
        momentum: likewise.
    """

    def __init__(self, groups: ParameterGroups, learning_rate: float, momentum: float) -> None:
        defaults = {"lr": learning_rate, "momentum": momentum, "weight_decay": 0.0}
        self.param_groups = [{**defaults, **group, "params": list(group["params"])} for group in groups]
        for group in self.param_groups:
            unknown = group.keys() - {"params", *defaults}
            if unknown:
                raise ValueError(f"parameter group: unknown {', '.join(sorted(unknown))}; known: {', '.join(defaults)}")
            group["velocities"] = [torch.zeros_like(parameter) for parameter in group["params"] if group["momentum"]]

    @property
    def velocities(self) -> list[Tensor]:
        """The decaying sums of the gradients, of the groups with momentum."""
        return [velocity for group in self.param_groups for velocity in group["velocities"]]

    @torch.no_grad()
    def step(self) -> None:
        """Move every parameter that has a gradient along it, and drop the gradients."""
        for group in self.param_groups:
            used = [number for number, parameter in enumerate(group["params"]) if parameter.grad is not None]
            parameters = [group["params"][number] for number in used]
            updates = [parameter.grad for parameter in parameters]
            if group["weight_decay"]:
                updates = list(torch._foreach_add(updates, parameters, alpha=group["weight_decay"]))
            if group["momentum"]:
                velocities = [group["velocities"][number] for number in used]
                torch._foreach_mul_(velocities, group["momentum"])
                torch._foreach_add_(velocities, updates)
                updates = velocities
            torch._foreach_add_(parameters, updates, alpha=-group["lr"])
            for parameter in parameters:
                parameter.grad = None
