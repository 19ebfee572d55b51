"""Where and how networks compute: device, precision, compilation, and as much at a time as the memory holds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import Tensor, nn

from jobs.errors import ComputeError, NotFiniteError, TooLargeError
from jobs.training.devices import DEVICES, DTYPES
from jobs.training.memory import is_out_of_memory, out_of_memory
from jobs.training.transfers import Transfers

# How many pixels go through a network at a time. A CPU gains nothing from more than its caches hold.
PIXELS_AT_A_TIME = {"cpu": 2**17, "cuda": 2**22}

_Network = TypeVar("_Network", bound=nn.Module)


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """Weights are float32 always; with another dtype, autocast chooses what may be computed in it."""

    device: torch.device
    dtype: torch.dtype = torch.float32
    compile: bool = False
    transfers: Transfers = field(init=False, repr=False, compare=False)  # to the device, for who carries data there

    def __post_init__(self) -> None:
        object.__setattr__(self, "transfers", Transfers(self.device))

    def prepare(self, network: _Network) -> _Network:
        """The network itself, on the device, its channels last, for inference."""
        network.requires_grad_(False).eval().to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return network

    def compiled(self, network: Callable[..., Tensor]) -> Callable[..., Tensor]:
        """The prepared network, or one of its methods, compiled on its first call if that is wanted."""
        return torch.compile(network) if self.compile else network

    def samples_at_a_time(self, shape: Sequence[int]) -> int:
        """How many samples […,H,W] go through a network at once."""
        return max(1, PIXELS_AT_A_TIME[self.device.type] // (shape[-2] * shape[-1]))

    def autocast(self) -> torch.autocast:
        """The context in which layers compute in the dtype."""
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)

    def run(self, network: Callable[..., Tensor], *inputs: Tensor, gives: str = "result") -> Tensor:
        """What a prepared network makes of a batch: float32, on the device, without gradient.

        inputs: [B,…,H,W] of one size, on any device. The batch is cut into parts; where the memory does not hold a
        part, into smaller ones, down to single samples. gives: what messages call the result, such as "flow".

        Raises: TooLargeError where a single sample is too large; NotFiniteError where the result is not finite;
        ComputeError where nothing can be compiled.
        """
        size = self.samples_at_a_time(inputs[0].shape)
        outputs: list[Tensor] = []
        done = 0
        while done < len(inputs[0]):
            part = [batch[done : done + size].to(self.device, non_blocking=True) for batch in inputs]
            output = self._attempt(network, part)
            if output is not None:
                outputs.append(output)
                done += size
                continue
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            if size == 1:
                raise TooLargeError(self._too_large(inputs[0].shape[-2:]))
            size = min(size, len(part[0])) // 2 or 1
        result = torch.cat(outputs) if len(outputs) > 1 else outputs[0]
        if not all(torch.isfinite(end) for end in torch.aminmax(result)):  # unlike the result's own, without a copy
            advice = "choose --dtype bfloat16 or float32" if self.dtype == torch.float16 else "check the weights"
            verb = "are" if gives.endswith("s") else "is"
            raise NotFiniteError(f"the network's {gives} {verb} not finite, computed in {_name(self.dtype)}: {advice}")
        return result

    def _attempt(self, network: Callable[..., Tensor], part: list[Tensor]) -> Tensor | None:
        """What the network makes of it, or None where memory runs out; by then nothing holds on to any of it."""
        try:
            with torch.no_grad(), self.autocast():
                return network(*part).float()
        except Exception as error:
            if is_out_of_memory(error):
                return None
            if self.compile and type(error).__module__.startswith("torch._"):
                first_line = str(error).strip().partition("\n")[0]
                raise ComputeError(
                    f"the network cannot be compiled here ({first_line}); leave --compile out"
                ) from error
            raise

    def _too_large(self, size: tuple[int, ...]) -> str:
        advice = ("--dtype bfloat16",) if self.dtype == torch.float32 and self.device.type == "cuda" else ()
        doing = f"with one sample of {size[0]}x{size[1]} at a time, in {_name(self.dtype)}"
        return out_of_memory(self.device, doing, *advice)


def open_runtime(device: str = "auto", dtype: str = "float32", compile: bool = False) -> Runtime:
    """The runtime of that device ('auto': a GPU if there is one) and dtype, by name.

    Raises: ComputeError where the device is not here, and ValueError for names of neither.
    """
    if device not in DEVICES or dtype not in DTYPES:
        raise ValueError(
            f"device is one of {', '.join(DEVICES)} and dtype one of {', '.join(DTYPES)}, found {device} and {dtype}"
        )
    is_there = torch.cuda.is_available()
    if device == "cuda" and not is_there:
        build = "this PyTorch is built without CUDA" if torch.version.cuda is None else "no GPU that CUDA can use"
        raise ComputeError(f"device 'cuda' was asked for, found {build} (torch {torch.__version__}); use --device cpu")
    kind = "cuda" if is_there and device != "cpu" else "cpu"
    return Runtime(device=torch.device(kind), dtype=getattr(torch, dtype), compile=compile)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
