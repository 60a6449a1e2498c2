"""The other side of steps.py: times OpenSpliceAI's own network and loss, in its own environment, and prints JSON."""

import json
import resource
import sys
import time
from itertools import cycle, islice

import h5py
import numpy as np
import torch
from openspliceai.train_base import utils
from openspliceai.train_base.openspliceai import SpliceAI


def read_batches(task: dict) -> list[tuple[torch.Tensor, torch.Tensor]]:
    with h5py.File(task["dataset"]) as file:
        x, y = file["X0"][:], file["Y0"][0]
    crop, size = (10000 - task["flanking_size"]) // 2, task["batch"]
    x = x[:, crop : x.shape[1] - crop].transpose(0, 2, 1)
    y = y.transpose(0, 2, 1)
    return [
        (torch.from_numpy(x[i : i + size].astype(np.float32)), torch.from_numpy(y[i : i + size].astype(np.float32)))
        for i in range(0, len(x) - size + 1, size)
    ]


def main() -> None:
    task = json.loads(sys.argv[1])
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = task["precision"] == "tf32"
    model = SpliceAI(32, np.array(task["widths"]), np.array(task["dilations"]))
    model.load_state_dict(torch.load(task["weights"], map_location="cpu", weights_only=True))
    model.to(device)
    if task["unfreeze"] is not None:
        for parameter in model.parameters():
            parameter.requires_grad = False
        units = [unit for unit in model.residual_units if hasattr(unit, "conv1")]
        for unit in units[len(units) - task["unfreeze"] :]:
            for parameter in unit.parameters():
                parameter.requires_grad = True
    optimizer = torch.optim.AdamW([parameter for parameter in model.parameters() if parameter.requires_grad], lr=1e-4)
    loss_of = utils.focal_loss if task["loss"] == "focal_loss" else utils.categorical_crossentropy_2d
    seconds = []
    for x, y in islice(cycle(read_batches(task)), 1 + task["steps"]):
        start = time.perf_counter()
        x, y = x.to(device), y.to(device)
        if task["evaluation"]:
            model.eval()
            with torch.no_grad():
                float(loss_of(y, model(x)))
        else:
            model.train()
            optimizer.zero_grad()
            loss = loss_of(y, model(x))
            loss.backward()
            optimizer.step()
            loss.item()
        seconds.append(time.perf_counter() - start)
    first, *rest = seconds
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    name = torch.cuda.get_device_name() if device.type == "cuda" else "cpu"
    print(
        json.dumps({"first": first, "seconds": rest, "peak_mb": peak, "device": f"{name}, torch {torch.__version__}"})
    )


if __name__ == "__main__":
    main()
