"""OpenSpliceAI's network and training step in PyTorch, written from the facts about it, to compare with.

Nothing here is taken from OpenSpliceAI's source or shares a line with the package: the layers are PyTorch's own, in
its layout (windows, channels, length), all convolutions are padded and the skip sum is cropped at the end.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

_GROUPS = ((11, 1), (11, 4), (21, 10), (41, 25))
GROUPS = {80: _GROUPS[:1], 400: _GROUPS[:2], 2000: _GROUPS[:3], 10000: _GROUPS}
"""Flanking size -> kernel width and dilation of the four residual units before each skip."""

PADDING = 3


class Unit(nn.Module):
    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.batchnorm1 = nn.BatchNorm1d(32)
        self.batchnorm2 = nn.BatchNorm1d(32)
        self.conv1 = nn.Conv1d(32, 32, width, dilation=dilation, padding=(width - 1) * dilation // 2)
        self.conv2 = nn.Conv1d(32, 32, width, dilation=dilation, padding=(width - 1) * dilation // 2)
        self.activation = nn.LeakyReLU(0.1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv1(self.activation(self.batchnorm1(x)))
        return x + self.conv2(self.activation(self.batchnorm2(y)))


class Skip(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(32, 32, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x)


class Twin(nn.Module):
    """The network: integer bases (windows, L + flanking_size) -> probabilities (windows, L, 3)."""

    def __init__(self, flanking_size: int) -> None:
        super().__init__()
        self.crop = flanking_size // 2
        self.initial_conv = nn.Conv1d(4, 32, 1)
        self.initial_skip = Skip()
        entries = []
        for width, dilation in GROUPS[flanking_size]:
            entries += [*(Unit(width, dilation) for _ in range(4)), Skip()]
        self.residual_units = nn.ModuleList(entries)
        self.final_conv = nn.Conv1d(32, 3, 1)

    @property
    def units(self) -> list[int]:
        """Entries of `residual_units` that are residual units."""
        return [number for number, entry in enumerate(self.residual_units) if isinstance(entry, Unit)]

    def forward(self, bases: torch.Tensor) -> torch.Tensor:
        one_hot = nn.functional.one_hot(bases.long(), 5)[..., 1:].transpose(1, 2)
        x = self.initial_conv(one_hot.to(self.initial_conv.weight.dtype))
        total = self.initial_skip(x)
        for entry in self.residual_units:
            if isinstance(entry, Unit):
                x = entry(x)
            else:
                total = total + entry(x)
        kept = total[:, :, self.crop : total.shape[2] - self.crop]
        return torch.softmax(self.final_conv(kept), 1).transpose(1, 2)

    def predict(self, bases: np.ndarray) -> np.ndarray:
        """Probabilities on running statistics."""
        self.eval()
        with torch.no_grad():
            return self(torch.from_numpy(bases)).numpy()


@dataclass(frozen=True)
class Objective:
    """What a training step minimises.

    Attributes:
        name: "cross_entropy_loss" or "focal_loss" (gamma 2).
        alpha: Factor of the focal loss.
        padding_counts: Positions of padding, which add nothing to the sum, count in the mean.
    """

    name: str
    alpha: float
    padding_counts: bool

    def __call__(self, probabilities: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        truth = nn.functional.one_hot(labels.long(), 4)[..., :3].to(probabilities.dtype)
        log = torch.log(probabilities + 1e-10)
        if self.name == "cross_entropy_loss":
            loss = -(truth * log).sum(-1)
        else:
            loss = -self.alpha * (truth * log * (1 - probabilities) ** 2).sum(-1)
        counted = labels.numel() if self.padding_counts else (labels != PADDING).sum()
        return loss.sum() / counted


@dataclass(frozen=True)
class Trajectory:
    """What a few training steps do.

    Attributes:
        losses: Of each step.
        gradients: Of the first step, for the parameters that train.
        final: The state dict after the last step.
    """

    losses: list[float]
    gradients: dict[str, np.ndarray]
    final: dict[str, np.ndarray]


def train(
    twin: Twin,
    batches: Iterable[tuple[np.ndarray, np.ndarray]],
    rates: Iterable[float],
    *,
    trainable: Collection[str],
    batch_statistics: Collection[int],
    objective: Objective,
    weight_decay: float = 0.01,
) -> Trajectory:
    """Take a step a batch with AdamW.

    Arguments:
        twin: Is changed.
        batches: Bases (windows, L + flanking_size) and labels (windows, L).
        rates: The learning rate of each step.
        trainable: Names of the parameters that train.
        batch_statistics: Entries of the units whose BatchNorm layers are in training mode.
        objective: The loss.
        weight_decay: AdamW's.
    """
    twin.eval()
    for number in batch_statistics:
        twin.residual_units[number].train()
    named = dict(twin.named_parameters())
    for name, parameter in named.items():
        parameter.requires_grad_(name in trainable)
    optimizer = torch.optim.AdamW([named[name] for name in named if name in trainable], weight_decay=weight_decay)
    losses, gradients = [], {}
    for (bases, labels), rate in zip(batches, rates, strict=True):
        optimizer.param_groups[0]["lr"] = float(rate)
        optimizer.zero_grad()
        loss = objective(twin(torch.from_numpy(bases)), torch.from_numpy(labels))
        loss.backward()
        gradients = gradients or {name: named[name].grad.numpy().copy() for name in named if name in trainable}
        optimizer.step()
        losses.append(loss.item())
    return Trajectory(losses, gradients, {name: value.numpy().copy() for name, value in twin.state_dict().items()})
