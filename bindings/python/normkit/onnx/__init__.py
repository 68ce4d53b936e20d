"""NormKit in ONNX Runtime, on the CPU: the normalizations of a model, with what stands beside them, by NormKit.

`session` makes a session of a model, in which NormKit computes the normalizations. It does three things that are
there one by one, too: `optimize` lets ONNX Runtime optimize the model, `convert` puts in operators of NormKit's,
and `register` adds their library to the options of a session.

>>> import normkit.onnx, onnx
>>> model = onnx.parser.parse_model('''
...     <ir_version: 8, opset_import: ["": 17]>
...     example (float[N, 4] a, float[N, 4] b) => (float[N, 4] y)
...     <float[4] gamma = {1, 1, 1, 1}> { x = Add(a, b)  z = LayerNormalization(x, gamma)  y = Relu(z) }''')
>>> model, report = normkit.onnx.convert(model)
>>> print(report)
1 x LayerNormalization -> residual + Relu + SkipLayerNormalization
>>> [node.op_type for node in model.graph.node]
['SkipLayerNormalization']
"""

from ._conversion import convert
from ._report import Conversion, Left, Report
from ._session import library_path, optimize, register, session

__all__ = ["Conversion", "Left", "Report", "convert", "library_path", "optimize", "register", "session"]
