"""Plans: a normalization that is described once, with what stands before and after it, and run many times."""

from __future__ import annotations

import ctypes
import functools
import math
import threading
import weakref
from typing import Any, Callable, Sequence

import numpy as np

from ._abi import DType, EpsilonRule, Layout, Norm, RunningVariance
from ._library import functions, library, native, refusal
from ._operands import forms, operands, place_workspace
from ._plan_abi import PARALLEL_FOR, Activation, Description, Fusion, Method, OutputDType
from ._scalars import integer, integers, real

Numbers = np.ndarray[Any, Any]
# Calls its second argument with 0, 1, … less than its first, on any threads, and returns when all have returned.
ParallelFor = Callable[[int, Callable[[int], None]], object]

_DTYPES = {
    "float32": DType.F32, "float64": DType.F64, "float16": DType.F16, "bfloat16": DType.BF16,
    "int8": OutputDType.I8, "uint8": OutputDType.U8,
}  # fmt: skip
_STORED = ("float32", "float64", "float16", "bfloat16")


def _named(kind: Any, name: Any, argument: str, prefix: str = "") -> int:
    """The constant of this name in lower case, without `prefix`."""
    members = kind.__members__.items()
    names: dict[str, int] = {member.removeprefix(prefix).lower(): int(value) for member, value in members}
    if not isinstance(name, str) or name not in names:
        raise ValueError(f"{argument} is {name!r}; it must be one of {', '.join(names)}")
    return names[name]


def _dtype(dtype: Any, argument: str, accepted: Sequence[str] = _STORED) -> int:
    name = dtype if isinstance(dtype, str) else np.dtype(dtype).name
    if name not in accepted:
        raise ValueError(f"{argument} is {name}; it must be one of {', '.join(accepted)}")
    return int(_DTYPES[name])


def _limited(value: Any, argument: str, bits: int = 64) -> int:
    """An integer, kept in the range of the library's, so that none wraps around to one that is in range."""
    limit = 1 << (bits - 1)
    return max(-limit, min(integer(value, argument), limit - 1))


class Plan:
    """A normalization, and what is done beside it in the same pass over memory:

    ::

        s = x + residual + bias              # written to sum with store_sum
        n = normalize(activation_before(s))  # with gamma and beta
        a = activation_after(n * sample_scale + sample_shift)
        y = a + residual_after               # converted to output_dtype

    Every step but the normalization is optional. Where the sum is stored, it is what is normalized, also where storing
    it rounds it. A plan is made once, and run on arrays of the shape that it was made for, by any number of threads at
    the same time. A run copies nothing and allocates nothing. Plans can be pickled.

    Sizes and strides are counted in elements. Names are those of ``normkit.h``; where that says more, it holds here.

    Args:
        method: ``"layer_norm"``, ``"rms_norm"`` of `rows` x `size`; ``"layer_norm_channels"``,
            ``"batch_norm_inference"``, ``"batch_norm_training"``, ``"instance_norm"``, ``"group_norm"`` of `samples` x
            `channels` x `positions`; ``"weight_norm"``, ``"scale_shift"`` of `outer` x `slices` x `inner`;
            ``"normalize"``, ``"lp_normalize"`` of `shape` over `axes`.
        dtype: of x, residual, sum and residual_after: float32, float64, float16 or bfloat16.
        parameter_dtype: of gamma, beta, bias, sample_scale and sample_shift: `dtype`, or float32 beside float16 and
            bfloat16. None: `dtype`.
        output_dtype: of y: also int8 and uint8. None: `dtype`.
        groups: of group_norm.
        layout: ``"channels_first"`` or ``"channels_last"``.
        norm: ``"l1"``, ``"l2"`` or ``"max"``.
        epsilon: added to the variance, or to the norm.
        epsilon_rule: of normalize: ``"inside_sqrt"`` or ``"outside_sqrt"``.
        momentum, running_variance_rule: of batch_norm_training; the rule is ``"unbiased"`` or ``"biased"``.
        one_plus_gamma: of rms_norm: multiply by ``1 + gamma``.
        add_residual, add_bias, add_residual_after: add an array like x, one number per feature or channel, and an array
            like x after the normalization.
        store_sum: also write x with what was added to it.
        scale_shift_samples: adaptive normalization: sample_scale and sample_shift of each sample.
        one_plus_sample_scale: multiply by ``1 + sample_scale``.
        rows_per_sample: of layer_norm and rms_norm: rows that share a scale and a shift. It divides `rows`.
        scale_per_row: int8 output: a scale for each row, found on the way and written to row_scales.
        activation_before, activation_after: ``"identity"``, ``"relu"``, ``"leaky_relu"``, ``"gelu"``, ``"gelu_tanh"``,
            ``"silu"``, ``"sigmoid"``, ``"tanh"`` or ``"hard_swish"``.
        slope: of leaky_relu, for negative numbers.
        x_stride, y_stride, residual_stride, sum_stride, residual_after_stride: from one row (layer_norm, rms_norm),
            sample (channels first) or position (channels last) to the next; 0 is without a gap.

    Raises:
        NormKitError: the library refuses the description, as a fusion that the method does not have. Its `status` is
            the argument at fault.
        TypeError, ValueError: an argument is of another type, or a name is unknown.

    Sources: those of the functions; adaptive normalization: Peebles, Xie, "Scalable Diffusion Models with
    Transformers", 2023.

    >>> import numpy as np
    >>> plan = Plan("layer_norm", rows=2, size=4, epsilon=0, add_residual=True, store_sum=True)
    >>> x = np.array([[1, 2, 3, 4], [0, 0, 0, 0]], np.float32)
    >>> residual = np.array([[0, 1, 0, 1], [1, 1, 3, 3]], np.float32)
    >>> y, total = np.empty_like(x), np.empty_like(x)
    >>> plan.run(x=x, residual=residual, y=y, sum=total)
    >>> total
    array([[1., 3., 3., 5.],
           [1., 1., 3., 3.]], dtype=float32)
    >>> y[1]
    array([-1., -1.,  1.,  1.], dtype=float32)

    With threads of one's own:

    >>> from concurrent.futures import ThreadPoolExecutor
    >>> with ThreadPoolExecutor(2) as pool:
    ...     every = lambda count, task: list(pool.map(task, range(count)))
    ...     plan.run_parallel(every, parts=2, x=x, residual=residual, y=y, sum=total)
    >>> y[1]
    array([-1., -1.,  1.,  1.], dtype=float32)
    """

    def __init__(
        self,
        method: str,
        *,
        dtype: Any = "float32",
        parameter_dtype: Any = None,
        output_dtype: Any = None,
        rows: int = 0,
        size: int = 0,
        samples: int = 0,
        channels: int = 0,
        positions: int = 0,
        groups: int = 1,
        outer: int = 0,
        slices: int = 0,
        inner: int = 0,
        shape: int | Sequence[int] = (),
        axes: int | Sequence[int] = (),
        layout: str = "channels_first",
        norm: str = "l2",
        epsilon: float = 1e-5,
        epsilon_rule: str = "inside_sqrt",
        momentum: float = 0.1,
        running_variance_rule: str = "unbiased",
        one_plus_gamma: bool = False,
        add_residual: bool = False,
        add_bias: bool = False,
        store_sum: bool = False,
        scale_shift_samples: bool = False,
        one_plus_sample_scale: bool = False,
        rows_per_sample: int = 1,
        add_residual_after: bool = False,
        scale_per_row: bool = False,
        activation_before: str = "identity",
        activation_after: str = "identity",
        slope: float = 0.01,
        x_stride: int = 0,
        y_stride: int = 0,
        residual_stride: int = 0,
        sum_stride: int = 0,
        residual_after_stride: int = 0,
    ) -> None:
        given = dict(locals())
        self._choices = {name: value for name, value in given.items() if name not in ("self", "method")}
        self._method = method
        d = Description(struct_size=ctypes.sizeof(Description), method=_named(Method, method, "method"))
        d.dtype = _dtype(dtype, "dtype")
        d.parameter_dtype = 0 if parameter_dtype is None else _dtype(parameter_dtype, "parameter_dtype")
        d.output_dtype = 0 if output_dtype is None else _dtype(output_dtype, "output_dtype", tuple(_DTYPES))
        for name in _INTEGERS:
            setattr(d, name, _limited(given[name], name))
        for name in ("epsilon", "momentum", "slope"):
            setattr(d, name, real(given[name], name))
        for name in ("one_plus_gamma", "one_plus_sample_scale"):
            setattr(d, name, _limited(given[name], name, 32))
        d.layout = _named(Layout, layout, "layout")
        d.norm = _named(Norm, norm, "norm")
        d.epsilon_rule = _named(EpsilonRule, epsilon_rule, "epsilon_rule", "EPSILON_")
        d.running_variance_rule = _named(
            RunningVariance, running_variance_rule, "running_variance_rule", "RUNNING_"
        )
        d.activation_before = _named(Activation, activation_before, "activation_before")
        d.activation_after = _named(Activation, activation_after, "activation_after")
        d.fusions = sum(fusion for name, fusion in Fusion.__members__.items() if given[name.lower()])
        _set_axes(d, integers(shape, "shape"), integers(axes, "axes"))

        handle = ctypes.c_void_p()
        functions.normkit_plan_create(d, handle)
        self._handle = handle
        self._finalizer = weakref.finalize(self, library.normkit_plan_destroy, handle)
        self._forms = forms(d)
        self._call = native("normkit_plan_run", math.prod(self._forms["x"].shape))
        self._workspace = int(library.normkit_plan_workspace(handle, 1))

    def __reduce__(self) -> tuple[Any, ...]:
        return functools.partial(Plan, self._method, **self._choices), ()

    def __repr__(self) -> str:
        x = self._forms["x"]
        return f"<Plan of {self._method}, {x.shape} {x.dtype}>"

    @property
    def most_parts(self) -> int:
        """Into how many parts a run can be cut at most."""
        return int(library.normkit_plan_most_parts(self._handle))

    def useful_parts(self, threads: int) -> int:
        """Into how many parts to cut a run for `threads` threads that are awake: as many as are worth it."""
        return int(library.normkit_plan_useful_parts(self._handle, _limited(threads, "threads", 32)))

    @property
    def phases(self) -> int:
        """Rounds of parts, of which each has to be complete before the next begins."""
        return int(library.normkit_plan_phases(self._handle))

    def workspace(self, parts: int = 1) -> int:
        """Bytes of workspace for a run in `parts` parts. Raises ValueError if `parts` is below 1."""
        found = int(library.normkit_plan_workspace(self._handle, _limited(parts, "parts", 32)))
        if found < 0:
            raise ValueError(f"parts is {parts}; it must be at least 1")
        return found

    def bind(self, *, parts: int = 1, workspace: Numbers | None = None, **arrays: Any) -> Run:
        """A run on these arrays, which are checked now and not again. They are held by it.

        Args:
            parts: into how many the run will be cut.
            workspace: memory of at least ``workspace(parts)`` bytes, of any type. None: it is allocated.
            arrays: `x`, `y`, and what the plan uses of `residual`, `bias`, `gamma`, `beta`, `given_mean`,
                `given_variance`, `sample_scale`, `sample_shift`, `residual_after`, `sum`, `mean`, `rstd`, `norms`,
                `running_mean`, `running_variance` and `row_scales`, NumPy arrays in the shapes of ``normkit.h``: rows
                are [rows, size], data with channels [samples, channels, positions] or, channels last, [samples,
                positions, channels]. y may be exactly x, residual or residual_after, sum may be x or residual.
                `output_scale` and `zero_point` are numbers, for int8 and uint8 output.

        Raises:
            TypeError, ValueError: an array is of another dtype or shape, is not laid out as the plan says, or is not
                used by the plan.

        >>> import numpy as np
        >>> x = np.array([[3, 4], [6, 8]], np.float32)
        >>> run = Plan("rms_norm", rows=2, size=2, epsilon=0, output_dtype="int8", scale_per_row=True).bind(
        ...     x=x, y=np.empty((2, 2), np.int8), row_scales=np.empty(2, np.float32))
        >>> run()
        >>> run.arrays["y"]
        array([[ 95, 127],
               [ 95, 127]], dtype=int8)
        """
        return Run(self, parts, workspace, arrays)

    def run(self, **arrays: Any) -> None:
        """Run on the calling thread. For what is taken and raised see `bind`; NormKitError, naming the argument, if the
        library refuses the run. Nothing has been written then."""
        self.bind(**arrays)()

    def run_part(self, phase: int, part: int, parts: int, *, workspace: Numbers | None = None, **arrays: Any) -> None:
        """Run one part of one phase, 0 <= part < parts, 0 <= phase < phases, for those who call with threads of their
        own. Every part is run with the same arrays, and every part of a phase before the first of the next. `workspace`
        has to be given if the plan needs one. See `bind` and `run`."""
        if workspace is None and self.workspace(parts):
            raise ValueError(f"workspace is missing: all parts share one of {self.workspace(parts)} bytes")
        self.bind(parts=parts, workspace=workspace, **arrays).part(phase, part)

    def run_parallel(self, parallel_for: ParallelFor, *, parts: int, **arrays: Any) -> None:
        """Run in `parts` parts through `parallel_for`. See `Run.parallel` and `bind`."""
        self.bind(parts=parts, **arrays).parallel(parallel_for)

    def run_threads(self, **arrays: Any) -> None:
        """Run on NormKit's own threads (`normkit.set_num_threads`), if the work is large enough for several."""
        self.bind(parts=library.normkit_thread_count(), **arrays).threads()


class Run:
    """A plan on arrays that have been checked: made by `Plan.bind`, called any number of times.

    Attributes:
        arrays: what was bound, by name.
    """

    def __init__(self, plan: Plan, parts: int, workspace: Numbers | None, arrays: dict[str, Any]) -> None:
        self.arrays = arrays
        # Held as they are, however `arrays` changes.
        self._held = (plan, workspace, *arrays.values())
        self._parts = parts if parts == 1 else _limited(parts, "parts", 32)
        self._operands = operands(plan._forms, arrays)
        if workspace is None and self._parts > 0:
            size = plan._workspace if self._parts == 1 else plan.workspace(self._parts)
            if size > 0:
                workspace = np.empty(size, np.uint8)
                self._held += (workspace,)
        if workspace is not None:
            place_workspace(self._operands, workspace)
        self._arguments = plan._handle, ctypes.byref(self._operands)
        self._call = plan._call

    def __call__(self) -> None:
        """Run on the calling thread. Raises NormKitError, naming the argument, if the library refuses the run; nothing
        has been written then."""
        status = self._call(*self._arguments)
        if status:
            raise refusal(status, "normkit_plan_run")

    def part(self, phase: int, part: int) -> None:
        """Run one part of one phase. See `Plan.run_part`."""
        functions.normkit_plan_run_part(
            *self._arguments, _limited(phase, "phase", 32), _limited(part, "part", 32), self._parts
        )

    def threads(self) -> None:
        """Run on NormKit's own threads. See `Plan.run_threads`."""
        functions.normkit_plan_run_threads(*self._arguments)

    def parallel(self, parallel_for: ParallelFor) -> None:
        """Run in parts through `parallel_for`, which is called with a count and a task: it calls ``task(i)`` for each i
        from 0 to count - 1, on any threads and in any order, and returns when all calls have returned. With one part
        it is not called.

        Raises what `parallel_for` raises, and RuntimeError if it has returned too early. y is not complete then.
        """
        loop = _Loop(parallel_for)
        functions.normkit_plan_run_parallel(*self._arguments, self._parts, PARALLEL_FOR(loop.run), None)
        if loop.failure is not None:
            raise loop.failure


class _Loop:
    """A caller's loop, seen from the library: what it leaves undone does not run later, when its memory is gone."""

    def __init__(self, parallel_for: ParallelFor) -> None:
        self.parallel_for = parallel_for
        self.failure: BaseException | None = None
        self.state = threading.Condition()

    def run(self, context: int | None, count: int, task: Callable[[Any, int], None], argument: Any) -> None:
        """One phase; exceptions cannot pass through the library, and are kept for later."""
        if self.failure is not None:
            return
        running = done = 0
        is_over = False

        def guarded(i: int) -> None:
            nonlocal running, done
            with self.state:
                if is_over:
                    raise RuntimeError("parallel_for has returned before all parts were run")
                running += 1
            try:
                task(argument, i)
            finally:
                with self.state:
                    running, done = running - 1, done + 1
                    self.state.notify_all()

        try:
            self.parallel_for(count, guarded)
        except BaseException as error:
            self.failure = error
        with self.state:
            is_over = True
            self.state.wait_for(lambda: running == 0)
        if self.failure is None and done != count:
            self.failure = RuntimeError(f"parallel_for has returned after {done} of {count} parts")


_INTEGERS = (
    "rows", "size", "samples", "channels", "positions", "groups", "outer", "slices", "inner", "rows_per_sample",
    "x_stride", "y_stride", "residual_stride", "sum_stride", "residual_after_stride",
)  # fmt: skip


def _set_axes(d: Description, shape: tuple[int, ...], axes: tuple[int, ...]) -> None:
    """Counts that do not fit are left to the library to refuse."""
    d.rank, d.axis_count = len(shape), len(axes)
    for index, extent in enumerate(shape[: len(d.shape)]):
        d.shape[index] = _limited(extent, "shape")
    for index, axis in enumerate(axes[: len(d.axes)]):
        d.axes[index] = _limited(axis, "axes", 32)
