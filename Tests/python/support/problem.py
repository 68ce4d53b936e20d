"""One call with its data."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from .dtypes import DType
from .methods import Method, View, is_running
from .reference import Expected


@dataclass(frozen=True)
class Problem:
    """One call.

    scalars: every argument that is no tensor, by its name in the header (shape and axes as tuples).
    inputs: every tensor that is read, dense and shaped as View says, or None for NULL. Running statistics count
        as inputs.
    outputs: names of the outputs that are asked for (running statistics not counted).
    """

    method: Method
    dtype: DType
    parameter_dtype: DType
    scalars: dict
    inputs: dict[str, np.ndarray | None]
    outputs: frozenset[str]

    @cached_property
    def view(self) -> View:
        return self.method.view(self.scalars)

    @cached_property
    def expected(self) -> dict[str, Expected]:
        """The reference for every output, also for those that are not asked for."""
        return self.method.formula(self)

    def stride(self, name: str) -> int:
        """Elements from one run of a tensor to the next."""
        return self.scalars.get(f"{name}_stride", 0) or self.view.run

    def output_type(self, name: str) -> DType:
        return self.dtype if name == self.method.result else self.dtype.statistics

    def output_shape(self, name: str) -> tuple[int, ...]:
        return self.view.shape if name == self.method.result else self.view.kept_shape

    def written(self) -> list[str]:
        """Names of all buffers that the call may write."""
        running = [name for name, values in self.inputs.items() if is_running(name) and values is not None]
        return sorted(self.outputs) + running

    def with_scalars(self, **changes) -> "Problem":
        return replace(self, scalars=self.scalars | changes)

    def with_inputs(self, **changes) -> "Problem":
        return replace(self, inputs=self.inputs | changes)

    def asking_for(self, *outputs: str) -> "Problem":
        """The same problem with these outputs and no others; running statistics are left out too."""
        inputs = {name: None if is_running(name) else values for name, values in self.inputs.items()}
        return replace(self, inputs=inputs, outputs=frozenset(outputs))

    def __repr__(self) -> str:
        present = [name for name, values in self.inputs.items() if values is not None]
        return (f"<{self.method} {self.dtype}/{self.parameter_dtype} {self.scalars} "
                f"reads {present} writes {sorted(self.outputs)}>")
