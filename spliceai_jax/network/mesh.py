"""A row of devices: arrays are the same on all of them, or cut along their first axis."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from spliceai_jax.network.operations import compiler_options

T = TypeVar("T")

AXIS = "devices"
"""The name of the mapped axis, for sums over the devices."""

SAME, CUT = PartitionSpec(), PartitionSpec(AXIS)
"""The same on every device; cut along the first axis."""


class DeviceRow:
    """Devices side by side.

    Attributes:
        devices: The devices.
        same: The sharding of an array that every device holds whole.
        cut: The sharding of an array that is cut along its first axis.
    """

    def __init__(self, devices: Sequence[jax.Device]) -> None:
        """Line up these devices."""
        self.devices = tuple(devices)
        self._mesh = Mesh(np.array(self.devices), (AXIS,))
        self.same = NamedSharding(self._mesh, SAME)
        self.cut = NamedSharding(self._mesh, CUT)

    def __len__(self) -> int:
        """Return the number of devices."""
        return len(self.devices)

    def compiled(
        self,
        step: Callable[..., T],
        inputs: tuple[PartitionSpec, ...],
        outputs: PartitionSpec,
        gathered: bool = False,
        donate_argnums: Sequence[int] = (),
    ) -> Callable[..., T]:
        """Return a function of one device's share, compiled for all devices; it must sum over them itself.

        Arguments:
            step: The function; it may sum over AXIS.
            inputs: SAME or CUT for each argument.
            outputs: SAME or CUT.
            gathered: Gather the result on every device.
            donate_argnums: The numbers of the arguments that the call consumes.
        """
        # The check cannot follow a gradient through a sum over devices that we write ourselves.
        mapped = jax.shard_map(step, mesh=self._mesh, in_specs=inputs, out_specs=outputs, check_vma=False)
        placed = partial(NamedSharding, self._mesh)
        return jax.jit(
            mapped,
            in_shardings=tuple(map(placed, inputs)),
            out_shardings=placed(SAME if gathered else outputs),
            donate_argnums=donate_argnums,
            compiler_options=compiler_options(self.devices[0].platform),
        )

    def send(self, tree: T) -> T:
        """Distribute over the devices the rows of a batch, all of which every process holds."""
        here = [i for i, device in enumerate(self.devices) if device.process_index == jax.process_index()]

        def share(array: np.ndarray) -> jax.Array:
            rows = len(array) // len(self.devices)
            part = array[here[0] * rows : (here[-1] + 1) * rows]
            return jax.make_array_from_process_local_data(self.cut, part)

        return jax.tree.map(share, tree)
