"""The names by which command lines know devices and precisions; no PyTorch is needed to know them."""

from dataclasses import dataclass

from jobs.console.settings import setting

DEVICES = ("auto", "cpu", "cuda")
DTYPES = ("float32", "bfloat16", "float16")
GPUS_PER_WORKER = {"auto": None, "cpu": 0, "cuda": 1}  # of a crew, by the device asked for; None: where there are any


@dataclass(frozen=True, kw_only=True)
class RuntimeSettings:
    """Where networks compute, and how: the arguments of `jobs.training.runtime.open_runtime`."""

    device: str = setting("auto", "Where networks compute; auto: on a GPU, where there is one.", choices=DEVICES)
    dtype: str = setting("float32", "In what they compute.", choices=DTYPES)
    compile: bool = setting(False, "Compile them first: minutes, which pay off on many frames.")
