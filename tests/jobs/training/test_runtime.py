"""Where networks compute: names that are not here, batches that are too large, numbers that are none."""

import subprocess
import sys

import pytest
import torch
from helpers.drivers import PATIENCE
from torch import Tensor, nn

from jobs.errors import ComputeError, NotFiniteError, TooLargeError
from jobs.training import runtime as runtime_module
from jobs.training.runtime import Runtime, open_runtime

CPU = Runtime(device=torch.device("cpu"))


class Limited(nn.Module):
    """Doubles its input, but runs out of memory with more than so many samples at a time."""

    def __init__(self, limit: int, error: Exception) -> None:
        super().__init__()
        self.limit, self.error = limit, error
        self.sizes: list[int] = []

    def forward(self, batch: Tensor) -> Tensor:
        self.sizes.append(len(batch))
        if len(batch) > self.limit:
            raise self.error
        return 2 * batch


@pytest.fixture
def four_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime_module, "PIXELS_AT_A_TIME", {"cpu": 4 * 6 * 8})


@pytest.mark.usefixtures("four_at_a_time")
def test_a_batch_is_cut_into_what_fits() -> None:
    network, batch = Limited(4, MemoryError()), torch.rand(10, 2, 6, 8)
    assert torch.equal(CPU.run(network, batch), 2 * batch)
    assert network.sizes == [4, 4, 2]


@pytest.mark.usefixtures("four_at_a_time")
@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: not enough memory"),
        MemoryError(),
    ],
)
def test_out_of_memory_is_tried_again_with_less(error: Exception) -> None:
    network, batch = Limited(1, error), torch.rand(5, 2, 6, 8)
    assert torch.equal(CPU.run(network, batch), 2 * batch)
    assert network.sizes == [4, 2, 1, 1, 1, 1, 1]


@pytest.mark.usefixtures("four_at_a_time")
def test_out_of_memory_with_a_single_sample_says_what_helps() -> None:
    text = "out of memory on cpu with one sample of 6x8 at a time, in float32; choose fewer --workers, or a machi"
    with pytest.raises(TooLargeError, match=text):
        CPU.run(Limited(0, MemoryError()), torch.rand(3, 2, 6, 8))


def test_memory_that_really_runs_out() -> None:
    script = """
import resource, torch
from jobs.training.runtime import open_runtime
network = open_runtime("cpu").prepare(torch.nn.Conv2d(3, 512, 3))
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**28, used + 2**28))
open_runtime("cpu").run(network, torch.zeros(1, 3, 1024, 1024))
"""
    process = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert process.stderr.splitlines()[-1].startswith(
        "jobs.errors.TooLargeError: out of memory on cpu with one sample of 1024x1024"
    )


def test_other_errors_stay_what_they_are() -> None:
    with pytest.raises(RuntimeError, match="something else"):
        CPU.run(Limited(0, RuntimeError("something else")), torch.rand(1, 2, 6, 8))


@pytest.mark.parametrize(
    ("dtype", "advice"), [("float16", "choose --dtype bfloat16 or float32"), ("float32", "weights")]
)
def test_a_flow_that_is_no_number_is_refused(dtype: str, advice: str) -> None:
    runtime = Runtime(device=torch.device("cpu"), dtype=getattr(torch, dtype))
    with pytest.raises(NotFiniteError, match=f"not finite, computed in {dtype}: .*{advice}"):
        runtime.run(lambda batch: batch * torch.inf, torch.ones(1, 2, 6, 8))


def test_layers_compute_in_the_dtype_and_results_are_float32() -> None:
    layer = nn.Conv2d(2, 2, 1)
    seen = []
    layer.register_forward_hook(lambda *call: seen.append(call[-1].dtype))
    runtime = open_runtime("cpu", "bfloat16")
    assert runtime.run(runtime.prepare(layer), torch.rand(1, 2, 6, 8)).dtype == torch.float32
    assert seen == [torch.bfloat16]
    assert layer.weight.dtype == torch.float32


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_a_gpu_that_is_not_here() -> None:
    with pytest.raises(ComputeError, match=r"device 'cuda' was asked for, found .*; use --device cpu"):
        open_runtime("cuda")


def test_names_of_nothing() -> None:
    with pytest.raises(
        ValueError, match=r"device is one of auto, cpu, cuda and dtype one of .*, found tpu and float32"
    ):
        open_runtime("tpu")
