"""normkit.onnx.convert: what it finds in a model, what it leaves alone, and that the model means the same."""

import numpy as np
import pytest

pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx")

import normkit.onnx  # noqa: E402
from onnx import helper  # noqa: E402
from support.onnx_models import model, run  # noqa: E402

SHAPE = (2, 3, 8)
GAMMA, BETA, BIAS = (np.random.default_rng(i).normal(1, 0.5, 8).astype(np.float32) for i in range(3))
SCALARS = {name: np.float32(value) for name, value in {
    "two": 2, "three": 3, "one": 1, "half": 0.5, "minus_half": -0.5, "epsilon": 1e-3, "zero": 0, "six": 6,
    "root2": 2**0.5, "inverse_root2": 0.5**0.5, "sixth": 1 / 6}.items()}
CONSTANTS = {**SCALARS, "gamma": GAMMA, "beta": BETA, "bias": BIAS, "last": np.array([-1]),
             "rows": np.ones((3, 1), np.float32)}


def nodes(text):
    """Nodes as lines `output = Operator(input, …)`; names of attributes and values follow the operator in [ ]."""
    made = []
    for line in filter(None, map(str.strip, text.splitlines())):
        outputs, call = line.split(" = ")
        operator, inputs = call.rstrip(")").split("(")
        attributes = {}
        if "[" in operator:
            operator, written = operator[:-1].split("[", 1)
            attributes = {key: eval(value) for key, value in (item.split("=", 1) for item in written.split(";"))}
        domain, operator = operator.rsplit(".", 1) if "." in operator else ("", operator)
        made.append(helper.make_node(operator, inputs.split(", "), outputs.split(", "), name=outputs, domain=domain,
                                     **attributes))
    return made


def example(text, outputs=("y",), inputs=("x",), shape=SHAPE, **opsets):
    graph_nodes = nodes(text)
    used = {name for node in graph_nodes for name in node.input}
    constants = {name: array for name, array in CONSTANTS.items() if name in used}
    return model(graph_nodes, {name: shape for name in inputs}, outputs, constants, **opsets)


def converted(made, inputs=("x",), shape=SHAPE, limit=2e-6, **options):
    """Convert a model, compare its outputs before and after, and return (its nodes by type, what was taken in)."""
    before = made.SerializeToString()
    new, report = normkit.onnx.convert(made, **options)
    assert made.SerializeToString() == before
    feeds = {name: np.random.default_rng(i).normal(1, 2, shape).astype(np.float32) for i, name in enumerate(inputs)}
    for wanted, found in zip(run(made, feeds), run(new, feeds), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=0, atol=limit * max(1, np.abs(wanted).max()))
    return [node.op_type for node in new.graph.node], [item.taken_in for item in report.converted], report


CENTERED = """
    m = ReduceMean[axes=[-1]](x)
    d = Sub(x, m)
"""
VARIANCE = CENTERED + """
    q = Pow(d, two)
    v = ReduceMean[axes=[-1]](q)
    e = Add(v, epsilon)
"""
DIVIDED = VARIANCE + """
    s = Sqrt(e)
    z = Div(d, s)
"""
AFFINE = """
    a = Mul(z, gamma)
    y = Add(a, beta)
"""
SPELLINGS = {
    "div": DIVIDED + AFFINE,
    "mul_square": DIVIDED.replace("Pow(d, two)", "Mul(d, d)") + AFFINE,
    "add_order": DIVIDED.replace("Add(v, epsilon)", "Add(epsilon, v)")
    + "a = Mul(gamma, z)\n y = Add(beta, a)",
    "reciprocal": VARIANCE + "s = Sqrt(e)\n r = Reciprocal(s)\n z = Mul(d, r)" + AFFINE,
    "one_over": VARIANCE + "s = Sqrt(e)\n r = Div(one, s)\n z = Mul(d, r)" + AFFINE,
    "rsqrt_as_pow": VARIANCE + "r = Pow(e, minus_half)\n z = Mul(d, r)" + AFFINE,
    "sqrt_as_pow": VARIANCE + "s = Pow(e, half)\n z = Div(d, s)" + AFFINE,
    "gamma_first": VARIANCE + "s = Sqrt(e)\n r = Reciprocal(s)\n g = Mul(r, gamma)\n a = Mul(d, g)\n y = Add(a, beta)",
    "two_subtractions": DIVIDED.replace("z = Div(d, s)", "c = Sub(x, m)\n z = Div(c, s)") + AFFINE,
    "positive_axes": DIVIDED.replace("[-1]", "[2]") + AFFINE,
    "no_affine": DIVIDED.replace("z = Div", "y = Div"),
    "no_gamma": DIVIDED + "y = Add(z, beta)",
    "no_beta": DIVIDED + "y = Mul(z, gamma)",
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_layer_normalization_in_every_spelling(name):
    types, _, _ = converted(example(SPELLINGS[name]))
    assert types == ["LayerNormalization"]


def test_axes_as_an_input():
    text = DIVIDED.replace("ReduceMean[axes=[-1]](x)", "ReduceMean(x, last)")
    text = text.replace("ReduceMean[axes=[-1]](q)", "ReduceMean(q, last)")
    types, _, _ = converted(example(text + AFFINE, **{"": 18}))
    assert types == ["LayerNormalization"]


@pytest.mark.parametrize("square", ["Pow(x, two)", "Mul(x, x)"])
@pytest.mark.parametrize("end", ["s = Sqrt(e)\n z = Div(x, s)", "s = Sqrt(e)\n r = Reciprocal(s)\n z = Mul(x, r)"])
def test_rms_normalization(square, end):
    text = f"q = {square}\n v = ReduceMean[axes=[-1]](q)\n e = Add(v, epsilon)\n {end}\n y = Mul(gamma, z)"
    types, _, _ = converted(example(text))
    assert types == ["RMSNormalization"]


def test_channels_first():
    text = DIVIDED.replace("[-1]", "[1]") + "a = Mul(z, channel_gamma)\n y = Add(a, channel_beta)"
    CONSTANTS.update(channel_gamma=GAMMA[:3, None], channel_beta=BETA[None, :3, None])
    types, _, _ = converted(example(text))
    assert types == ["ChannelLayerNormalization"]


# What looks like it, and is not, or not wholly: the types of nodes of NormKit's that come out.
OTHERWISE = {
    "cube": (DIVIDED.replace("two", "three") + AFFINE, []),
    "without_keepdims": (DIVIDED.replace("v = ReduceMean[axes=[-1]](q)", """
        w = ReduceMean[axes=[-1];keepdims=0](q)
        v = Unsqueeze(w, last)""") + AFFINE, []),
    "two_axes": (DIVIDED.replace("v = ReduceMean[axes=[-1]]", "v = ReduceMean[axes=[1]]") + AFFINE, []),
    "first_axis": (DIVIDED.replace("[-1]", "[0]") + AFFINE, []),
    "other_way": (DIVIDED.replace("z = Div(d, s)", "z = Div(s, d)") + AFFINE, []),
    "gamma_of_rows": (DIVIDED + "a = Mul(z, rows)\n y = Add(a, beta)", ["LayerNormalization"]),
    "scalar_gamma": (DIVIDED + "a = Mul(z, half)\n y = Add(a, beta)", ["LayerNormalization"]),
    "used_in_between": (DIVIDED + "a = Mul(z, gamma)\n b = Add(a, beta)\n y = Add(b, z)", ["LayerNormalization"]),
}


@pytest.mark.parametrize("name", OTHERWISE)
def test_what_is_not_wholly_a_layer_normalization(name):
    text, wanted = OTHERWISE[name]
    types, _, _ = converted(example(text))
    assert [kind for kind in types if kind.endswith("Normalization")] == wanted


def test_an_intermediate_that_is_an_output_stays():
    types, _, _ = converted(example(DIVIDED + AFFINE, outputs=["y", "d", "a"]))
    assert "Sub" in types and "LayerNormalization" in types


LAYER = "y = LayerNormalization[epsilon=1e-3](x, gamma, beta)"
ADDED = "x = Add(p, q)\n"


def test_a_residual_is_taken_in():
    types, taken, _ = converted(example(ADDED + LAYER, inputs="pq"), "pq")
    assert types == ["SkipLayerNormalization"] and taken == [["residual"]]


def test_a_residual_and_a_bias_are_taken_in():
    types, taken, _ = converted(example("r = Add(p, bias)\n x = Add(q, r)\n" + LAYER, inputs="pq"), "pq")
    assert types == ["SkipLayerNormalization"] and taken == [["residual", "bias"]]


def test_a_sum_that_others_need_is_given():
    text = ADDED + LAYER + "\n w = Sigmoid(x)\n v = Add(w, y)"
    types, taken, _ = converted(example(text, ["v", "x"], "pq"), "pq")
    assert types == ["SkipLayerNormalization", "Sigmoid", "Add"] and taken == [["residual"]]


def test_a_sum_of_two_normalizations_is_made_once():
    text = ADDED + LAYER + "\n w = LayerNormalization(x, gamma)"
    types, _, _ = converted(example(text, ["y", "w"], "pq"), "pq")
    assert types == ["SkipLayerNormalization", "LayerNormalization"]


def test_blocks_of_a_transformer():
    """Pre-normalization: each sum is the residual of the next."""
    text = "".join(f"""
        n{i} = LayerNormalization[epsilon=1e-3](h{i}, gamma, beta)
        f{i} = Tanh(n{i})
        h{i + 1} = Add(h{i}, f{i})
    """ for i in range(3)).replace("h0", "x") + "y = LayerNormalization(h3, gamma)"
    types, taken, _ = converted(example(text))
    assert types == ["LayerNormalization"] + ["SkipLayerNormalization"] * 3
    assert taken == [["Tanh"], ["residual", "Tanh"], ["residual", "Tanh"], ["residual"]]


def test_a_parameter_that_is_not_constant_keeps_the_addition():
    made = example(ADDED + "y = LayerNormalization(x, w)", inputs="pqw", shape=(8,))
    types, _, _ = converted(made, "pqw", (8,))
    assert types == ["Add", "LayerNormalization"]


ACTIVATIONS = {
    "Relu": "v = Relu(y)",
    "LeakyRelu": "v = LeakyRelu[alpha=0.3](y)",
    "Sigmoid": "v = Sigmoid(y)",
    "Tanh": "v = Tanh(y)",
    "HardSwish": "v = HardSwish(y)",
    "Silu": "s = Sigmoid(y)\n v = Mul(y, s)",
    "Silu, with a product that does nothing": "o = Mul(y, one)\n s = Sigmoid(o)\n v = Mul(s, y)",
    "Silu, of ONNX Runtime": "v = com.microsoft.QuickGelu[alpha=1.0](y)",
    "Gelu": "d = Div(y, root2)\n e = Erf(d)\n p = Add(e, one)\n m = Mul(y, p)\n v = Mul(m, half)",
    "Gelu, halved first": "h = Mul(half, y)\n d = Mul(y, inverse_root2)\n e = Erf(d)\n p = Add(one, e)\n v = Mul(h, p)",
    "Gelu, of ONNX Runtime": "v = com.microsoft.Gelu(y)",
    "GeluTanh": "v = com.microsoft.FastGelu(y)",
    "HardSwish, of HardSigmoid": f"h = HardSigmoid[alpha={1 / 6};beta=0.5](y)\n v = Mul(y, h)",
    "HardSwish, of Clip": "a = Add(y, three)\n c = Clip(a, zero, six)\n m = Mul(y, c)\n v = Div(m, six)",
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_activation_is_taken_in(name):
    types, taken, _ = converted(example(f"{LAYER}\n{ACTIVATIONS[name]}", ["v"]))
    assert types == ["LayerNormalization"] and taken == [[name.split(",")[0]]]


@pytest.mark.parametrize("text, outputs", [
    ("v = Relu(y)", ["v", "y"]),
    ("v = Relu(y)\n w = Neg(y)", ["v", "w"]),
    ("s = Sigmoid(y)\n v = Mul(y, s)", ["v", "s"]),
    ("v = HardSigmoid[alpha=0.3;beta=0.5](y)", ["v"]), ("v = com.microsoft.QuickGelu[alpha=1.7](y)", ["v"]),
])
def test_an_activation_that_is_none_or_not_the_only_reader_stays(text, outputs):
    types, taken, _ = converted(example(f"{LAYER}\n{text}", outputs))
    assert types[0] == "LayerNormalization" and len(types) > 1 and taken == [[]]


def batch_normalization(after_convolution):
    text = "y = BatchNormalization(c, c0, c1, c2, c3)\n v = Relu(y)"
    text = ("c = Conv(x, weight)\n" if after_convolution else "c = Neg(x)\n") + text
    random = np.random.default_rng(0)
    CONSTANTS.update({f"c{i}": random.uniform(0.5, 1.5, 3).astype(np.float32) for i in range(4)},
                     weight=random.normal(0, 1, (3, 3, 1, 1)).astype(np.float32))
    return example(text, ["v"], shape=(2, 3, 4, 5))


def test_batch_normalization():
    types, taken, _ = converted(batch_normalization(False), shape=(2, 3, 4, 5))
    assert types == ["Neg", "BatchNormalization"] and taken == [["Relu"]]


def test_batch_normalization_that_is_folded_stays_unless_it_is_asked_for():
    types, _, report = converted(batch_normalization(True), shape=(2, 3, 4, 5))
    assert types == ["Conv", "BatchNormalization", "Relu"]
    assert [left.name for left in report.left] == ["y"] and "1 x BatchNormalization left: folded" in str(report)
    types, _, _ = converted(batch_normalization(True), shape=(2, 3, 4, 5), keep_foldable=False)
    assert types == ["Conv", "BatchNormalization"]


def test_a_tensor_that_the_body_of_an_if_reads_stays():
    body = [helper.make_graph(nodes(f"{name} = Identity(d)"), name, [], [
        helper.make_tensor_value_info(name, 1, SHAPE)]) for name in ("t", "f")]
    made = example(DIVIDED + AFFINE + "c = Cast[to=9](flag)", ["y", "w"])
    made.graph.node.append(helper.make_node("If", ["c"], ["w"], then_branch=body[0], else_branch=body[1]))
    made.graph.initializer.append(onnx.numpy_helper.from_array(np.array(1.0, np.float32), "flag"))
    types, _, _ = converted(made)
    assert types[:3] == ["ReduceMean", "Sub", "LayerNormalization"]


def test_group_normalization_of_a_parameter_per_group():
    CONSTANTS.update(per_group=np.array([1, 2, 3], np.float32), shifts=np.array([0, 1, -1], np.float32))
    made = example("y = GroupNormalization[num_groups=3](x, per_group, shifts)", shape=(2, 6, 4), **{"": 20})
    new, _ = normkit.onnx.convert(made)
    x = np.random.default_rng(0).normal(0, 1, (2, 6, 4)).astype(np.float32)
    groups = x.reshape(2, 3, 8).astype(np.float64)
    wanted = (groups - groups.mean(2, keepdims=True)) / np.sqrt(groups.var(2, keepdims=True) + 1e-5)
    wanted = wanted * np.array([1, 2, 3])[:, None] + np.array([0, 1, -1])[:, None]
    np.testing.assert_allclose(run(new, {"x": x})[0], wanted.reshape(x.shape), rtol=0, atol=1e-6)


IN_GROUPS = """
    r = Reshape(x, to_groups)
    i = InstanceNormalization[epsilon=1e-3](r, ones, zeros)
    s = Shape(x)
    b = Reshape(i, s)
    a = Mul(b, wide_gamma)
    y = Add(a, wide_beta)
"""


@pytest.mark.parametrize("change, wanted", [
    (("", ""), ["GroupNormalization"]),
    (("s = Shape(x)", "s = Identity(full_shape)"), None),
    (("s = Shape(x)\n    b = Reshape(i, s)", "b = Reshape(i, full_shape)"), ["GroupNormalization"]),
    (("s = Shape(x)\n    b = Reshape(i, s)", "b = Reshape(i, other_shape)"), None),
    (("ones", "twos"), None),
    (("to_groups", "across"), None),
])
def test_group_normalization_between_two_reshapes(change, wanted):
    CONSTANTS.update(
        to_groups=np.array([0, 3, -1]), across=np.array([-1, 3, 4]), ones=np.ones(3, np.float32),
        twos=np.full(3, 2, np.float32), zeros=np.zeros(3, np.float32), wide_gamma=GAMMA[:6, None, None],
        wide_beta=BETA[:6, None, None], full_shape=np.array([0, 6, 4, -1]), other_shape=np.array([0, 6, 2, -1]))
    types, _, _ = converted(example(IN_GROUPS.replace(*change), shape=(2, 6, 4, 2)), shape=(2, 6, 4, 2))
    assert types == wanted if wanted else "InstanceNormalization" in types and "Reshape" in types


def test_nothing_to_do():
    made = example("y = Relu(x)")
    new, report = normkit.onnx.convert(made)
    assert new == made and str(report) == "nothing converted"


def test_a_session_of_a_model():
    run(example("y = Relu(x)"), {"x": np.zeros(SHAPE, np.float32)})  # builds the operators
    made = example(SPELLINGS["div"])
    x = np.random.default_rng(0).normal(0, 1, SHAPE).astype(np.float32)
    session = normkit.onnx.session(made)
    np.testing.assert_allclose(session.run(None, {"x": x})[0], run(made, {"x": x})[0], rtol=0, atol=2e-6)
