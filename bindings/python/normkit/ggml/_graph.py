"""The little of ggml that building and computing a graph takes: contexts, tensors, graphs."""

from __future__ import annotations

import ctypes
import os
from typing import Any

import numpy as np

from ._library import OPERATORS, InitParams, base, cpu, nodes, refusal

# enum ggml_type. bfloat16 is of the package ml_dtypes, which is not asked for before it is needed.
TYPES = {"float32": 0, "float16": 1, "int32": 26, "float64": 28, "bfloat16": 30}


def _dtype(number: int) -> np.dtype[Any]:
    name: Any = next((name for name, value in TYPES.items() if value == number), None)
    if name is None:
        raise TypeError(f"NumPy has no type for ggml's type {number}")
    if name == "bfloat16":
        import ml_dtypes

        name = ml_dtypes.bfloat16
    dtype: np.dtype[Any] = np.dtype(name)
    return dtype


def type_number(dtype: Any) -> int:
    """The enum ggml_type of a NumPy dtype. Raises TypeError if it has none."""
    name = np.dtype(dtype).name
    if name not in TYPES:
        raise TypeError(f"ggml tensors of {name} are not supported here; those of {', '.join(TYPES)} are")
    return TYPES[name]


class Tensor:
    """A tensor of ggml. `Tensor(context, address)` stands for one that something else has made.

    Attributes:
        context: the `Context` that keeps it.
        address: the ggml_tensor pointer as an integer.
    """

    def __init__(self, context: Context, address: int) -> None:
        self.context = context
        self.address = address

    def layout(self) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
        """Type number, extents `ne` and strides in bytes `nb`, innermost first as in ggml."""
        number, ne, nb = ctypes.c_int32(), (ctypes.c_int64 * 4)(), (ctypes.c_size_t * 4)()
        self.context.check_open()
        nodes.normkit_ggml_layout(self.address, ctypes.byref(number), ne, nb)
        return number.value, tuple(ne), tuple(nb)

    @property
    def ne(self) -> tuple[int, ...]:
        """Four extents, innermost first."""
        return self.layout()[1]

    @property
    def nb(self) -> tuple[int, ...]:
        """Four strides in bytes, innermost first."""
        return self.layout()[2]

    @property
    def shape(self) -> tuple[int, ...]:
        """The extents in NumPy's order, without outer ones of 1."""
        return self.ne[: base.ggml_n_dims(self.address)][::-1]

    def numpy(self) -> np.ndarray[Any, Any]:
        """A copy of the elements. Those of intermediate results are overwritten: make them outputs of the graph."""
        number, _, nb = self.layout()
        shape = self.shape
        memory = np.empty(base.ggml_nbytes(self.address), np.uint8)
        base.ggml_backend_tensor_get(self.address, memory.ctypes.data, 0, memory.size)
        strides = nb[: len(shape)][::-1]
        return np.ndarray(shape, _dtype(number), memory, strides=strides).copy()


class Context:
    """Owns tensors and the nodes of NormKit among them. To be closed, or used in `with`.

    Args:
        tensors: for how many tensors there is room, views and intermediate results counted.
        threads: the most threads of a graph; those that this process may use, unless given.
    """

    def __init__(self, tensors: int = 1024, threads: int | None = None) -> None:
        available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        self.threads = threads or available or 1
        self._capacity = tensors * (base.ggml_tensor_overhead() + 32)
        self._address: int | None = base.ggml_init(InitParams(self._capacity, None, True))
        self._nodes: int = nodes.normkit_ggml_new(self.threads)
        self._buffers: list[int] = []
        self._graphs: list[Graph] = []
        self._backends: dict[int, tuple[int, int]] = {}

    def __enter__(self) -> Context:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def close(self) -> None:
        """Free the tensors, and the graphs of this context. May be called twice."""
        for graph in self._graphs:
            graph.close()
        for buffer in self._buffers:
            base.ggml_backend_buffer_free(buffer)
        for backend, pool in self._backends.values():
            base.ggml_backend_free(backend)
            cpu.ggml_threadpool_free(pool)
        if self._address:
            base.ggml_free(self._address)
            nodes.normkit_ggml_free(self._nodes)
        self._address, self._buffers, self._graphs, self._backends = None, [], [], {}

    def check_open(self) -> int:
        """The ggml_context pointer. Raises ValueError if this context is closed."""
        if self._address is None:
            raise ValueError("this context is closed")
        return self._address

    def room(self, tensors: int) -> int:
        """The ggml_context pointer, with room for so many tensors. Raises MemoryError where ggml would abort."""
        address = self.check_open()
        if base.ggml_used_mem(address) + tensors * (base.ggml_tensor_overhead() + 32) > self._capacity:
            raise MemoryError("the context has no room for another tensor: make it with more `tensors`")
        return address

    def tensor(self, array: Any) -> Tensor:
        """A tensor with a copy of the elements of `array`, its axes in reverse order."""
        array = np.ascontiguousarray(array)
        if not 1 <= array.ndim <= 4 or array.size == 0:
            raise ValueError(f"ggml has tensors of 1 to 4 axes with elements, not of shape {array.shape}")
        ne = (ctypes.c_int64 * array.ndim)(*reversed(array.shape))
        address = base.ggml_new_tensor(self.room(1), type_number(array.dtype), array.ndim, ne)
        buffer = base.ggml_backend_buft_alloc_buffer(base.ggml_backend_cpu_buffer_type(), array.nbytes)
        if not buffer:
            raise MemoryError(f"no memory for a tensor of {array.nbytes} bytes")
        self._buffers.append(buffer)
        base.ggml_backend_tensor_alloc(buffer, address, base.ggml_backend_buffer_get_base(buffer))
        base.ggml_backend_tensor_set(address, array.ctypes.data, 0, array.nbytes)
        return Tensor(self, address)

    def apply(self, operator: str, *arguments: Any) -> Tensor:
        """The result of ggml's own operator ``ggml_<operator>``, with its arguments but the context.

        As in ggml, arguments that do not fit together abort the process.
        """
        if operator not in OPERATORS:
            raise ValueError(f"{operator} is none of {', '.join(OPERATORS)}")
        addresses = [a.address if isinstance(a, Tensor) else a for a in arguments]
        return Tensor(self, getattr(base, f"ggml_{operator}")(self.room(1), *addresses))

    def status(self) -> int:
        """What the nodes of NormKit ran into when they were computed, 0 for nothing."""
        self.check_open()
        return int(nodes.normkit_ggml_status(self._nodes))

    def backend(self, threads: int) -> int:
        """A ggml_backend_t that computes on so many threads. All graphs share its threads, which wait spinning."""
        if threads > self.threads:
            raise ValueError(f"this context was made for {self.threads} threads, not for {threads}")
        if threads not in self._backends:
            parameters = ctypes.create_string_buffer(4096)  # ggml_threadpool_params, which is smaller
            base.ggml_threadpool_params_init(parameters, threads)
            pool, backend = cpu.ggml_threadpool_new(parameters), cpu.ggml_backend_cpu_init()
            cpu.ggml_backend_cpu_set_n_threads(backend, threads)
            cpu.ggml_backend_cpu_set_threadpool(backend, pool)
            self._backends[threads] = backend, pool
        return self._backends[threads][0]

    def keep(self, graph: Graph) -> None:
        """Close `graph` with this context."""
        self._graphs.append(graph)

    @property
    def nodes_address(self) -> int:
        """The normkit_ggml pointer."""
        return self._nodes


class Graph:
    """A graph that computes `outputs`, its intermediate results in memory that ggml's allocator shares out.

    It runs on `threads` threads; on all of those of the context unless given. What two graphs both compute is in the
    memory of the first one, which must not be closed before the second one then.
    """

    def __init__(self, context: Context, *outputs: Tensor, threads: int | None = None) -> None:
        context.check_open()
        self.context = context
        self._backend = context.backend(threads or context.threads)
        size = 4096
        self._memory = base.ggml_init(InitParams(base.ggml_graph_overhead_custom(size, False), None, True))
        self._graph = base.ggml_new_graph_custom(self._memory, size, False)
        for output in outputs:
            base.ggml_set_output(output.address)
            base.ggml_build_forward_expand(self._graph, output.address)
        self._allocator = base.ggml_gallocr_new(base.ggml_backend_cpu_buffer_type())
        context.keep(self)
        if not base.ggml_gallocr_alloc_graph(self._allocator, self._graph):
            raise MemoryError("ggml has no memory for the intermediate results")

    @property
    def node_count(self) -> int:
        """Number of nodes, views counted."""
        self._check_open()
        return int(base.ggml_graph_n_nodes(self._graph))

    @property
    def intermediate_bytes(self) -> int:
        """Memory of everything that the graph writes."""
        self._check_open()
        return int(base.ggml_gallocr_get_buffer_size(self._allocator, 0))

    def compute(self) -> None:
        """Compute all nodes. Raises NormKitError if NormKit refused one of them."""
        self._check_open()
        result = base.ggml_backend_graph_compute(self._backend, self._graph)
        if result:
            raise RuntimeError(f"ggml could not compute the graph: ggml_status {result}")
        status = self.context.status()
        if status:
            raise refusal(status)

    def _check_open(self) -> None:
        self.context.check_open()
        if not self._memory:
            raise ValueError("this graph is closed")

    def close(self) -> None:
        """Free the graph. May be called twice."""
        if self._memory:
            base.ggml_gallocr_free(self._allocator)
            base.ggml_free(self._memory)
        self._memory = None
