"""OpenSpliceAI's side of gpu.py, as it is or compiled by torch.compile; see gpu_side.py."""

import sys
from typing import Any

import numpy as np
import torch
from gpu_side import Step, serve
from step_theirs import make_network, make_step, read_windows, tensors

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def build(row: dict[str, Any]) -> Step:
    """Return the step of a row of gpu.py."""
    compiled = "--compile" in sys.argv
    if DEVICE.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    held = torch.cuda.memory_allocated() if DEVICE.type == "cuda" else 0
    model = make_network(row, DEVICE)
    if compiled:
        # Python's integers in place of numpy's: with these torch.compile breaks its graph at every convolution.
        for module in model.modules():
            if isinstance(module, torch.nn.Conv1d):
                module.padding, module.dilation = (tuple(map(int, of)) for of in (module.padding, module.dilation))
        model.crop.cropping = tuple(map(int, model.crop.cropping))
        torch._dynamo.reset()  # the programs of other rows count against its limit
    step = make_step(row, model, torch.compile(model) if compiled else model)
    bases, labels = read_windows(row)
    chosen = np.arange(row["windows"]) % len(bases)
    x, y = tensors(bases[chosen], labels[chosen])
    sent = x.to(DEVICE), y.to(DEVICE)
    facts: dict[str, Any] = {}
    loss = torch.zeros(())

    def start() -> None:
        nonlocal loss
        # Set anew: it belongs to the process, and rows take turns.
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = row["precision"] == "tf32"
        loss = step(*((x.to(DEVICE), y.to(DEVICE)) if row.get("sent") else sent))

    def wait() -> float:
        if DEVICE.type == "cuda":
            torch.cuda.synchronize()
            facts.setdefault("peak_mb", (torch.cuda.max_memory_allocated() - held) / 1e6)
        return loss.item()

    return Step(start, wait, facts)


def main() -> None:
    name = torch.cuda.get_device_name() if DEVICE.type == "cuda" else "cpu"
    serve({"platform": DEVICE.type, "device": name, "version": f"torch {torch.__version__}"}, build)


if __name__ == "__main__":
    main()
