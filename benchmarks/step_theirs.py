"""The other side of steps.py: times OpenSpliceAI's own network and loss, in its own environment, and prints JSON."""

import json
import resource
import sys
import time
from collections.abc import Callable
from itertools import cycle, islice

import h5py
import numpy as np
import torch
from openspliceai.train_base import utils
from openspliceai.train_base.openspliceai import SpliceAI


def read_windows(task: dict) -> tuple[np.ndarray, np.ndarray]:
    """Return the bases and the labels of the first shard, (windows, channels, positions)."""
    with h5py.File(task["dataset"]) as file:
        x, y = file["X0"][:], file["Y0"][0]
    crop = (10000 - task["flanking_size"]) // 2
    return x[:, crop : x.shape[1] - crop].transpose(0, 2, 1), y.transpose(0, 2, 1)


def tensors(x: np.ndarray, y: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(x.astype(np.float32)), torch.from_numpy(y.astype(np.float32))


def read_batches(task: dict) -> list[tuple[torch.Tensor, torch.Tensor]]:
    (x, y), size = read_windows(task), task["batch"]
    return [tensors(x[i : i + size], y[i : i + size]) for i in range(0, len(x) - size + 1, size)]


def make_network(task: dict, device: torch.device) -> SpliceAI:
    """Return the network in the mode that the task needs, with what does not train frozen."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = task["precision"] == "tf32"
    model = SpliceAI(32, np.array(task["widths"]), np.array(task["dilations"]))
    if task["weights"] is not None:
        model.load_state_dict(torch.load(task["weights"], map_location="cpu", weights_only=True))
    model.to(device)
    if task["unfreeze"] is not None:
        for parameter in model.parameters():
            parameter.requires_grad = False
        units = [unit for unit in model.residual_units if hasattr(unit, "conv1")]
        for unit in units[len(units) - task["unfreeze"] :]:
            for parameter in unit.parameters():
                parameter.requires_grad = True
    return model.train(not task["evaluation"])


def make_step(task: dict, model: SpliceAI, network: Callable) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """Return a function of a batch and its labels: a training step or an evaluation. It returns the loss.

    Arguments:
        task: The row.
        model: Holds the parameters.
        network: The model, or the compiled one.
    """
    loss_of = utils.focal_loss if task["loss"] == "focal_loss" else utils.categorical_crossentropy_2d
    optimizer = torch.optim.AdamW([parameter for parameter in model.parameters() if parameter.requires_grad], lr=1e-4)

    def scored(x: torch.Tensor) -> torch.Tensor:
        with torch.autocast(x.device.type, torch.bfloat16, enabled=task["precision"] == "bfloat16"):
            return network(x).float()

    def step(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        if task["evaluation"]:
            with torch.no_grad():
                return loss_of(y, scored(x))
        optimizer.zero_grad()
        loss = loss_of(y, scored(x))
        loss.backward()
        optimizer.step()
        return loss

    return step


def main() -> None:
    task = json.loads(sys.argv[1])
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = make_network(task, device)
    step = make_step(task, model, model)
    seconds = []
    for x, y in islice(cycle(read_batches(task)), 1 + task["steps"]):
        start = time.perf_counter()
        step(x.to(device), y.to(device)).item()
        seconds.append(time.perf_counter() - start)
    first, *rest = seconds
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    name = torch.cuda.get_device_name() if device.type == "cuda" else "cpu"
    print(
        json.dumps({"first": first, "seconds": rest, "peak_mb": peak, "device": f"{name}, torch {torch.__version__}"})
    )


if __name__ == "__main__":
    main()
