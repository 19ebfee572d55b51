"""The names by which command lines know devices and precisions; no PyTorch is needed to know them."""

DEVICES = ("auto", "cpu", "cuda")
DTYPES = ("float32", "bfloat16", "float16")
GPUS_PER_WORKER = {"auto": None, "cpu": 0, "cuda": 1}  # of a crew, by the device asked for; None: where there are any
