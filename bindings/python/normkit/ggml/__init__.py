"""NormKit in ggml graphs, on the CPU: `norm`, `rms_norm` and `group_norm` as nodes that ggml's own threads compute.

A node takes in what stands around the normalization: weight and bias, a residual before or after it, a scale and
shift of each sample, activations. Python builds the graph; computing it runs no Python.

Needs ggml (the package libggml-python, or a prefix in the environment variable GGML) and libnormkit_ggml.so, which
``bindings/ggml/build.sh`` builds; NORMKIT_GGML_LIBRARY names it where it is not found.

>>> import numpy as np
>>> import normkit.ggml
>>> with normkit.ggml.Context() as context:
...     x = context.tensor(np.array([[3, -3, 3, -3], [1, 1, 1, 1]], np.float32))
...     residual = context.tensor(np.ones((2, 4), np.float32))
...     y, total = normkit.ggml.rms_norm(x, 1e-6, residual=residual, return_sum=True)
...     graph = normkit.ggml.Graph(context, y, total, threads=2)
...     graph.compute()
...     print(total.numpy())
[[ 4. -2.  4. -2.]
 [ 2.  2.  2.  2.]]
"""

from ._graph import Context, Graph, Tensor
from ._norms import group_norm, norm, rms_norm

__all__ = ["Context", "Graph", "Tensor", "group_norm", "norm", "rms_norm"]
