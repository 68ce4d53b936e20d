"""Every function of the header that works on data, described once: what S is, and the formula.

To add a method, add one entry to METHODS. Its arguments, their types and which of them are outputs come from the
prototype in the header; arguments of the same name mean the same in every function (tensors.py).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from . import gradients, merging, reference, views, weights
from .dtypes import DTYPES, F32, F64, DType
from .header import Prototype, prototypes
from .tensors import DATA, OPTIONAL, PARAMETER_GRADIENTS, STATISTICS, is_running
from .views import View


@dataclass(frozen=True)
class Method:
    """One function of the header.

    view: from the scalar arguments to the View.
    formula: from a Problem to the expected outputs, by argument name.
    elementwise: no S: each output element depends on one input element alone.
    dtypes: the types of data that the function takes.
    norms: the values of `norm` that it takes.
    """

    name: str
    view: Callable[[dict], View]
    formula: Callable
    elementwise: bool = False
    dtypes: tuple[DType, ...] = DTYPES
    norms: tuple[int, ...] = (1, 2, 3)

    @cached_property
    def prototype(self) -> Prototype:
        return prototypes()[self.name]

    @property
    def data(self) -> str:
        """Name of the tensor that is normalized, or of what takes its place."""
        return self.prototype.buffers()[0].name

    @property
    def result(self) -> str | None:
        """Name of the output that is as large as the data; None if there is none."""
        return next((name for name in self.prototype.outputs() if name in DATA), None)

    @property
    def incoming(self) -> str | None:
        """Name of the gradient that a backward function is given; None if there is none."""
        return next((p.name for p in self.prototype.buffers() if p.name in ("dy", "dw") and not p.is_output), None)

    @property
    def is_backward(self) -> bool:
        return self.name.endswith("_backward")

    @property
    def statistics(self) -> list[str]:
        """Names of the optional outputs with one value per S."""
        return [name for name in self.prototype.outputs() if name in STATISTICS]

    @property
    def saved(self) -> frozenset[str]:
        """Names of the inputs that a forward function may have written, all of which are given or none."""
        if not self.is_backward or self.elementwise:
            return frozenset()
        return STATISTICS.intersection(self.prototype.inputs())

    @property
    def parameter_gradients(self) -> list[str]:
        return [name for name in self.prototype.outputs() if name in PARAMETER_GRADIENTS]

    @property
    def essential(self) -> tuple[str, ...]:
        """Names of the outputs that a call of any use has at least."""
        return tuple(name for name in self.prototype.outputs() if name in (*DATA, "moments", "sums", "folded_bias"))

    @property
    def optional(self) -> list[frozenset[str]]:
        """Groups of arguments that may be NULL together."""
        groups = [frozenset((p.name,)) for p in self.prototype.buffers()
                  if p.name in OPTIONAL or p.is_output and p.name in (*STATISTICS, "dw")]
        groups += [group for group in (frozenset(filter(is_running, self.prototype.names())), self.saved) if group]
        if self.elementwise and self.is_backward and self.parameter_gradients:
            groups.append(frozenset((self.data, self.parameter_gradients[0])))  # no other output depends on x
        return groups

    @property
    def subtracts_mean(self) -> bool:
        return self.formula is reference.standardize

    @property
    def strides(self) -> list[str]:
        """Names of the row strides."""
        return [name for name in self.prototype.names() if name.endswith("_stride")]

    def parameters(self, dtype: DType) -> tuple[DType, ...]:
        """The types that gamma, beta and their like may have beside a type of data."""
        return dtype.parameters if "parameter_dtype" in self.prototype.names() else (dtype,)

    def updated(self, scalars: dict) -> list[str]:
        """Names of the outputs that are read too."""
        accumulated = (*PARAMETER_GRADIENTS, "dw") if scalars.get("accumulate") == 1 else ()
        return [name for name in self.prototype.outputs()
                if is_running(name) or name == "moments" or name in accumulated]

    def __str__(self) -> str:
        return self.name.removeprefix("normkit_")


METHODS = (
    Method("normkit_layer_norm", views.rows, reference.standardize),
    Method("normkit_layer_norm_channels", views.channels_first_layer, reference.standardize),
    Method("normkit_rms_norm", views.rows, reference.rms),
    Method("normkit_batch_norm_inference", views.batch, reference.inference, elementwise=True),
    Method("normkit_batch_norm_training", views.batch, reference.standardize),
    Method("normkit_instance_norm", views.instance, reference.standardize),
    Method("normkit_group_norm", views.group, reference.standardize),
    Method("normkit_weight_norm", views.slices, reference.weight),
    Method("normkit_normalize", views.any_axes, reference.standardize),
    Method("normkit_lp_normalize", views.any_axes, reference.lp),
    Method("normkit_moments", views.any_axes, reference.moments),
    Method("normkit_scale_shift", views.outer_channels_inner, reference.scale_shift, elementwise=True),

    Method("normkit_layer_norm_backward", views.rows, gradients.standardize),
    Method("normkit_layer_norm_channels_backward", views.channels_first_layer, gradients.standardize),
    Method("normkit_rms_norm_backward", views.rows, gradients.rms),
    Method("normkit_batch_norm_inference_backward", views.batch, gradients.inference, elementwise=True),
    Method("normkit_batch_norm_training_backward", views.batch, gradients.standardize),
    Method("normkit_instance_norm_backward", views.instance, gradients.standardize),
    Method("normkit_group_norm_backward", views.group, gradients.standardize),
    Method("normkit_weight_norm_backward", views.slices, gradients.weight),
    Method("normkit_normalize_backward", views.any_axes, gradients.standardize),
    Method("normkit_lp_normalize_backward", views.any_axes, gradients.lp),
    Method("normkit_moments_backward", views.any_axes, gradients.moments),
    Method("normkit_scale_shift_backward", views.outer_channels_inner, gradients.scale_shift, elementwise=True),

    Method("normkit_moments_accumulate", views.batch, merging.accumulate),
    Method("normkit_moments_merge", views.channels_alone, merging.merge, elementwise=True, dtypes=(F64,)),
    Method("normkit_moments_finish", views.channels_alone, merging.finish, elementwise=True, dtypes=(F32, F64)),
    Method("normkit_batch_norm_synchronized", views.batch, merging.synchronized, elementwise=True),
    Method("normkit_batch_norm_gradient_sums", views.batch, merging.gradient_sums),
    Method("normkit_batch_norm_synchronized_backward", views.batch, merging.synchronized_backward, elementwise=True),

    Method("normkit_weight_penalty", views.whole, weights.penalty, norms=(1, 2)),
    Method("normkit_fold_batch_norm", views.outer_channels_inner, weights.fold, elementwise=True, dtypes=(F32, F64)),
)
# Each method with each type that it takes.
TYPED = [(method, dtype) for method in METHODS for dtype in method.dtypes]


def method(name: str) -> Method:
    """The method of a function, named without its prefix."""
    return next(m for m in METHODS if str(m) == name)
