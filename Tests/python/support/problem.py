"""One call with its data."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from . import tensors
from .dtypes import F64, DType, rounded
from .gradients import saved
from .methods import Method
from .reference import Expected
from .views import View


@dataclass(frozen=True)
class Problem:
    """One call.

    scalars: every argument that is no tensor, by its name in the header (shape and axes as tuples).
    inputs: every tensor that is read, dense and shaped as View says, or None for NULL; among them the outputs that
        are updated in place.
    outputs: names of the other outputs that are asked for.
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

    @property
    def places(self) -> list[tuple[str, str]]:
        """Each output and an input that it may be exactly, of those that are there."""
        present = {name for name, values in self.inputs.items() if values is not None}
        return tensors.places(present, set(self.written()))

    def stride(self, name: str) -> int:
        """Elements from one run of a tensor to the next."""
        return self.scalars.get(f"{name}_stride", 0) or self.view.run

    def type_of(self, name: str) -> DType:
        return tensors.type_of(name, self.dtype, self.parameter_dtype)

    def unit_type(self, name: str) -> DType:
        """The type whose epsilon is the unit of an output's error: that of computation, for doubles that are made of
        data of another type."""
        stored = self.type_of(name)
        return self.dtype.statistics if stored == F64 else stored

    def shape_of(self, name: str) -> tuple[int, ...]:
        return tensors.shape_of(name, self.view)

    def updated(self) -> list[str]:
        """Names of the outputs that the call reads too."""
        return [name for name in self.method.updated(self.scalars) if self.inputs.get(name) is not None]

    def written(self) -> list[str]:
        """Names of all buffers that the call may write."""
        return sorted(self.outputs) + self.updated()

    def with_scalars(self, **changes) -> "Problem":
        return replace(self, scalars=self.scalars | changes)

    def with_inputs(self, **changes) -> "Problem":
        return replace(self, inputs=self.inputs | changes)

    def with_saved(self) -> "Problem":
        """The same problem with the statistics that a forward function has saved, where there are any."""
        if not any(self.inputs[name] is not None for name in self.method.saved):
            return self
        return self.with_inputs(**{name: rounded(values, self.type_of(name)) for name, values in saved(self).items()})

    def asking_for(self, *outputs: str) -> "Problem":
        """The same problem with these outputs and no others."""
        updated = self.method.updated(self.scalars)
        left_out = {name: None for name in updated if name not in outputs}
        return replace(self, inputs=self.inputs | left_out, outputs=frozenset(outputs).difference(updated))

    def __repr__(self) -> str:
        present = [name for name, values in self.inputs.items() if values is not None]
        return (f"<{self.method} {self.dtype}/{self.parameter_dtype} {self.scalars} "
                f"reads {present} writes {sorted(self.outputs)}>")
