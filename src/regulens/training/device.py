"""Where a training computes: the CPU, or a GPU on which a step is recorded once and replayed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from regulens.errors import UserError, check_type

Step = Callable[[Tensor], None]
_WARM_UP_STEPS = 3  # what torch's documentation of CUDA graphs asks for


def find_device(name: str) -> torch.device:
    """Return the device called ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        UserError: if it is none of these, or not here.
    """
    check_type(name, str, "device", '"cpu", "cuda" or "cuda:N"')
    kind, _, number = name.partition(":")
    if kind not in {"cpu", "cuda"} or (number and not (kind == "cuda" and number.isdecimal())):
        raise UserError(f'device "{name}": must be cpu, cuda or cuda:N')
    if kind == "cpu":
        return torch.device("cpu")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count == 0:
        why = "no GPU that its driver offers" if torch.version.cuda else "this build of torch is for the CPU only"
        raise UserError(f'device "{name}": torch {torch.__version__} finds no CUDA device ({why}); use --device cpu')
    if int(number or 0) >= count:
        raise UserError(f'device "{name}": there are {count}, the first is cuda:0')
    return torch.device("cuda", int(number or 0))


def recorded(step: Step, batch_size: int, state: Sequence[Tensor], generator: torch.Generator) -> Step:
    """Return ``step`` as a CUDA graph that is replayed for every full batch; on the CPU, ``step`` itself.

    The graph (torch.cuda.CUDAGraph) spares the hundred launches of a small network's step, which cost more than the
    arithmetic. To record it the step is run a few times; what that changed is put back.

    Args:
        step: takes the (B,) int64 indices of a batch, on the device; must not wait for the device.
        batch_size: of a full batch; a smaller one is run step by step.
        state: every tensor that a step changes in place.
        generator: what the step draws from.
    """
    device = generator.device
    if device.type != "cuda":
        return step
    with torch.cuda.device(device):
        return _recorded_on_gpu(step, batch_size, state, generator)


def _recorded_on_gpu(step: Step, batch_size: int, state: Sequence[Tensor], generator: torch.Generator) -> Step:
    chosen = torch.zeros(batch_size, dtype=torch.int64, device=generator.device)
    before, random_before = [tensor.detach().clone() for tensor in state], generator.get_state()
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(_WARM_UP_STEPS):
            step(chosen)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    graph.register_generator_state(generator)
    with torch.cuda.graph(graph):
        step(chosen)
    with torch.no_grad():
        for tensor, value in zip(state, before, strict=True):
            tensor.copy_(value)
    generator.set_state(random_before)

    def replay(indices: Tensor) -> None:
        if len(indices) != batch_size:
            return step(indices)
        chosen.copy_(indices)
        return graph.replay()

    return replay
