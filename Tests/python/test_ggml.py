"""Nodes of NormKit in ggml graphs: the shapes of ggml's own test program against f64 and against ggml's operators."""

import itertools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pytest
import scipy.special

import normkit

pytest.importorskip("libggml")
if shutil.which("cc") is None:
    pytest.skip("there is no C compiler", allow_module_level=True)

ROOT = Path(__file__).resolve().parents[2]
FOLDER = tempfile.TemporaryDirectory()
subprocess.run(
    [ROOT / "bindings" / "ggml" / "build.sh", FOLDER.name], check=True,
    env={**os.environ, "NORMKIT_LIBRARY": normkit.library_path()})
os.environ["NORMKIT_GGML_LIBRARY"] = f"{FOLDER.name}/libnormkit_ggml.so"

import normkit.ggml as nk  # noqa: E402

EPSILONS = [0.0, 1e-6, 1e-4, 1e-1, 10.0]
LIMIT = 2.5  # of an error, in f32 epsilon of the largest value of its row or group
NMSE_LIMIT = 1e-7  # ggml's own, between two implementations
RNG = np.random.default_rng(7)


def uniform(*ne, dtype=np.float32):
    """Values as in ggml's tests, for extents in ggml's order."""
    return RNG.uniform(-10, 10, ne[::-1]).astype(dtype)


def normalized(x, axes, eps, rms=False):
    """f64 reference over NumPy axes."""
    x = x.astype(np.float64)
    if not rms:
        x = x - x.mean(axes, keepdims=True)
    return x / np.sqrt(np.square(x).mean(axes, keepdims=True) + eps)


def units(y, exact, axes=-1, scale=0.0):
    """Largest error in f32 epsilon of the largest value along `axes`; terms as large as `scale` were added up."""
    unit = np.finfo(np.float32).eps * np.maximum(np.abs(exact).max(axes, keepdims=True), scale)
    return float((np.abs(y - exact) / unit).max())


def compute(context, *outputs, threads=1):
    """The results of the tensors, from one graph."""
    graph = nk.Graph(context, *outputs, threads=threads)
    graph.compute()
    return [output.numpy().reshape(output.ne[::-1]) for output in outputs]


def check(mine, theirs, exact, axes=-1, scale=0.0):
    """Near to f64, not farther away than ggml's result, and the same for ggml's own test."""
    error = units(mine, exact, axes, scale)
    assert error <= LIMIT
    assert error <= max(units(theirs, exact, axes, scale), 1.5)
    assert np.square(mine - theirs).sum() <= NMSE_LIMIT * np.square(theirs).sum()


def view(context, a):
    """The first half along each axis, as ggml's tests have it."""
    return context.apply("view_4d", a, *(n // 2 for n in a.ne), *a.nb[1:], 0)


@pytest.fixture
def context():
    with nk.Context(threads=4) as c:
        yield c


@pytest.mark.parametrize("n", [33, 64, 132, 260, 1025])
@pytest.mark.parametrize("operator", ["norm", "rms_norm"])
def test_rows(context, operator, n):
    rms = operator == "rms_norm"
    cases = ["contiguous", "view"] + ([] if rms else ["permuted"])  # ggml_rms_norm aborts with strided elements
    for kind, eps in itertools.product(cases, EPSILONS):
        x = uniform(*((5, n, 4, 3) if kind == "permuted" else (n, 5, 4, 3)))
        a = context.tensor(x)
        if kind == "view":
            a, x = view(context, a), x[:1, :2, :2, :n // 2]
        elif kind == "permuted":
            a, x = context.apply("permute", a, 1, 0, 2, 3), x.swapaxes(2, 3)
        mine, theirs = compute(context, getattr(nk, operator)(a, eps), context.apply(operator, a, eps))
        check(mine, theirs, normalized(x, -1, eps, rms))


@pytest.mark.parametrize("operator", ["norm", "group_norm"])
def test_means_far_from_zero(context, operator):
    """Where the mean is a hundred deviations, ggml's mean in f32 is felt."""
    x = uniform(9, 9, 64, 2) + np.float32(1000)
    a = context.tensor(x)
    arguments, rows = ((a, 1e-6), x) if operator == "norm" else ((a, 4, 1e-6), x.reshape(8, -1))
    mine, theirs = compute(context, getattr(nk, operator)(*arguments), context.apply(operator, *arguments))
    exact = normalized(rows, -1, 1e-6)
    assert units(mine.reshape(rows.shape), exact) <= LIMIT < units(theirs.reshape(rows.shape), exact)


def test_rows_in_place(context):
    x = uniform(64, 5, 4, 3)
    a = context.tensor(x)
    y = nk.rms_norm(a, 1e-6, in_place=True)
    (mine,) = compute(context, y)
    assert units(mine, normalized(x, -1, 1e-6, rms=True)) <= LIMIT
    assert (a.numpy() == mine).all()


@pytest.mark.parametrize("n", [64, 1025])
@pytest.mark.parametrize("operator", ["norm", "rms_norm"])
@pytest.mark.parametrize("broadcast", [False, True])
def test_multiplied_and_added(context, operator, n, broadcast):
    """A weight and a bias of their own for each row are a scale and shift of samples."""
    rms = operator == "rms_norm"
    times = (1, 1, 1, 1) if not broadcast else (2, 3, 3, 4) if rms else (1, 2, 2, 2)
    for eps in EPSILONS[::2] if broadcast else EPSILONS:
        x, w, b = (uniform(*(e * t for e, t in zip((n, 5, 4, 3), times))), uniform(n, 5, 4, 3), uniform(n, 5, 4, 3))
        a, scale, shift = (context.tensor(v) for v in (x, w, b))
        theirs = context.apply("add", context.apply("mul", context.apply(operator, a, eps), scale), shift)
        if broadcast:
            scale, shift = context.apply("repeat", scale, a), context.apply("repeat", shift, a)
            w, b = np.tile(w, times[::-1]), np.tile(b, times[::-1])
        mine = getattr(nk, operator)(a, eps, sample_scale=scale, sample_shift=shift)
        check(*compute(context, mine, theirs), normalized(x, -1, eps, rms) * w + b)


@pytest.mark.parametrize("shape", [(64, 5, 4, 3), (1, 1, 1, 1), (511, 1, 1, 1), (1025, 5, 4, 3), (8192, 1, 1, 1),
                                   (33 * 512, 1, 1, 1)])
@pytest.mark.parametrize("operator", ["norm", "rms_norm"])
def test_residual_weight_and_bias(context, operator, shape):
    """add, normalize, multiply and add again: four nodes of ggml, one of NormKit, which also keeps the sum."""
    rms = operator == "rms_norm"
    if shape[0] == 1 and not rms:
        return  # one feature has no variance
    x, r = uniform(*shape), uniform(*shape)
    w, b = uniform(shape[0]), uniform(shape[0])
    a, residual, weight, bias = (context.tensor(v) for v in (x, r, w, b))
    s = context.apply("add", a, residual)
    theirs = context.apply("add", context.apply("mul", context.apply(operator, s, 1e-6), weight), bias)
    mine, total = getattr(nk, operator)(a, 1e-6, residual=residual, weight=weight, bias=bias, return_sum=True)
    alone = getattr(nk, operator)(a, 1e-6, residual=residual, weight=weight, bias=bias)
    mine, total, alone, s, theirs = compute(context, mine, total, alone, s, theirs)
    assert (total == s).all() and (mine == alone).all()
    # y is rounded once, as if of the sum in f32.
    check(mine, theirs, normalized(x + r, -1, 1e-6, rms) * w + b, scale=10.0)


@pytest.mark.parametrize("shape", [(64, 64, 320, 1), (9, 9, 1280, 1), (7, 3, 64, 2)])
def test_group(context, shape):
    eps, groups, channels = 1e-6, 32, shape[2]
    x, w, b, r = uniform(*shape), uniform(channels), uniform(channels), uniform(*shape)
    a, residual = context.tensor(x), context.tensor(r)
    weight, bias = (context.tensor(v.reshape(1, channels, 1, 1)) for v in (w, b))
    plain = context.apply("group_norm", a, groups, eps)
    exact = normalized(x.reshape(shape[3], groups, -1), -1, eps)
    mine, theirs = compute(context, nk.group_norm(a, groups, eps), plain)
    check(mine.reshape(exact.shape), theirs.reshape(exact.shape), exact)

    s = context.apply("add", a, residual)
    theirs = context.apply("add", context.apply("mul", context.apply("group_norm", s, groups, eps), weight), bias)
    mine = nk.group_norm(a, groups, eps, residual=residual, weight=weight, bias=bias)
    mine, theirs = compute(context, mine, theirs)
    exact = normalized((x + r).reshape(exact.shape), -1, eps).reshape(x.shape) * w[:, None, None] + b[:, None, None]
    check(mine, theirs, exact, axes=(1, 2, 3), scale=10.0)


def test_permuted_heads_and_slices(context):
    """Rows that lie apart in memory are read where they are, the residual in another order than x."""
    x, r = uniform(64, 6, 50, 2), uniform(64, 50, 6, 2)
    a, residual = context.apply("permute", context.tensor(x), 0, 2, 1, 3), context.tensor(r)
    y, total = nk.norm(a, 1e-5, residual=residual, return_sum=True)
    count = nk.Graph(context, y).node_count
    y, total = compute(context, y, total)
    assert count == 3  # the permuted view, the node, and the view of its first half: nothing is copied
    assert (total == x.swapaxes(1, 2) + r).all()
    assert units(y, normalized(total, -1, 1e-5), scale=1.0) <= LIMIT

    packed = uniform(3 * 128, 10, 7)
    whole = context.tensor(packed)
    query = context.apply("view_3d", whole, 128, 10, 7, whole.nb[1], whole.nb[2], 128 * 4)
    (y,) = compute(context, nk.rms_norm(query, 1e-6))
    assert units(y[0], normalized(packed[..., 128:256], -1, 1e-6, rms=True)) <= LIMIT


def test_channels_in_place(context):
    """Over the channels of a picture [width, height, channels, samples], without transposing it."""
    x, w = uniform(9, 5, 48, 2), uniform(48)
    picture = context.tensor(x)
    y = nk.norm(context.apply("permute", picture, 1, 2, 0, 3), 1e-6, weight=context.tensor(w), in_place=True)
    assert y.ne == (48, 9, 5, 2)
    compute(context, y)
    exact = normalized(x, 1, 1e-6) * w[:, None, None]
    assert units(picture.numpy(), exact, axes=1) <= LIMIT


def test_groups_of_channels_last_in_place(context):
    x = uniform(48, 9, 5, 2)
    picture = context.tensor(x)
    y = nk.group_norm(context.apply("permute", picture, 2, 0, 1, 3), 4, 1e-6, in_place=True)
    assert y.ne == (9, 5, 48, 2)
    compute(context, y)
    exact = normalized(x.reshape(2, 5, 9, 4, 12), (1, 2, 4), 1e-6)
    assert units(picture.numpy().reshape(exact.shape), exact, axes=(1, 2, 4)) <= LIMIT


def test_what_a_plan_cannot_read_is_copied(context):
    x, r = uniform(5, 48, 2), uniform(48, 5, 2)
    a = context.apply("permute", context.tensor(x), 1, 0, 2, 3)
    exact = normalized(x.swapaxes(1, 2) + r, -1, 1e-6, rms=True)
    y, total = nk.rms_norm(a, 1e-6, residual=context.tensor(r), return_sum=True)
    copied = nk.rms_norm(a, 1e-6)
    y, total, copied = compute(context, y, total, copied)
    assert units(y[0], exact, scale=1.0) <= LIMIT and (total[0] == x.swapaxes(1, 2) + r).all()
    assert units(copied[0], normalized(x.swapaxes(1, 2), -1, 1e-6, rms=True)) <= LIMIT

    picture = uniform(8, 8, 32, 1)
    whole = context.tensor(picture)
    half = context.apply("view_4d", whole, 4, 4, 16, 1, *whole.nb[1:], 0)
    (y,) = compute(context, nk.group_norm(half, 4, 1e-6))
    exact = normalized(picture[0, :16, :4, :4].reshape(4, -1), -1, 1e-6)
    assert units(y.reshape(exact.shape), exact) <= LIMIT


def test_samples(context):
    """Adaptive layer norm: one scale and shift for the tokens of a sample; a residual behind it."""
    x, scale, shift, r = uniform(40, 6, 3), uniform(40, 1, 3), uniform(40, 1, 3), uniform(40, 6, 3)
    a, sample_scale, sample_shift, after = (context.tensor(v) for v in (x, scale, shift, r))
    y = nk.norm(a, 1e-6, sample_scale=sample_scale, sample_shift=sample_shift, residual_after=after,
                one_plus_scale=True)
    (y,) = compute(context, y)
    exact = normalized(x, -1, 1e-6) * (1 + scale.astype(np.float64)) + shift + r
    assert units(y[0], exact, scale=30.0) <= LIMIT


ACTIVATIONS = {
    "relu": lambda v: np.maximum(v, 0),
    "leaky_relu": lambda v: np.where(v < 0, 0.2 * v, v),
    "gelu": lambda v: v * scipy.special.ndtr(v),
    "gelu_tanh": lambda v: v / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (v + 0.044715 * v**3))),
    "silu": lambda v: v * scipy.special.expit(v),
    "sigmoid": scipy.special.expit,
    "tanh": np.tanh,
    "hard_swish": lambda v: v * np.clip(v / 6 + 0.5, 0, 1),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(context, name):
    """Before the normalization and behind it, as group norm with SiLU in a U-Net."""
    x, w = uniform(9, 9, 64, 1), uniform(64)
    a, weight = context.tensor(x), context.tensor(w)
    function = ACTIVATIONS[name]
    after = nk.group_norm(a, 8, 1e-6, weight=weight, activation=name, slope=0.2)
    before = nk.norm(a, 1e-6, activation_before=name, slope=0.2)
    after, before = compute(context, after, before)
    exact = normalized(x.reshape(8, -1), -1, 1e-6).reshape(x.shape) * w[:, None, None]
    assert units(after, function(exact), axes=(1, 2, 3), scale=10.0) <= LIMIT
    assert units(before, normalized(function(x.astype(np.float64)), -1, 1e-6), scale=3.0) <= 2 * LIMIT


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_types(context, dtype):
    """ggml's own operators take f32 alone."""
    np_dtype = pytest.importorskip("ml_dtypes").bfloat16 if dtype == "bfloat16" else np.dtype(dtype)
    x = uniform(100, 7).astype(np_dtype)
    a = context.tensor(x)
    own = nk.norm(a, 1e-6, dtype=np_dtype)
    exact = normalized(x, -1, 1e-6)
    if dtype == "float64":
        (own,) = compute(context, own)
        assert np.abs(own - exact).max() < 1e-14
        return
    single, own = compute(context, nk.norm(a, 1e-6), own)
    assert single.dtype == np.float32 and own.dtype == np_dtype
    assert units(single[0, 0], exact) <= LIMIT
    assert (own == single.astype(np_dtype)).all()


def test_same_bits_for_any_number_of_threads(context):
    x = context.tensor(uniform(384, 100))
    heads = context.apply("permute", context.tensor(uniform(64, 3, 5)), 0, 2, 1, 3)
    picture = context.tensor(uniform(32, 32, 64, 1))
    results = [
        compute(context, nk.norm(x, 1e-5), nk.norm(heads, 1e-5), nk.group_norm(picture, 1, 1e-5), threads=threads)
        for threads in (1, 2, 3, 4)]
    for result in results[1:]:
        for one, other in zip(results[0], result):
            assert one.tobytes() == other.tobytes()


def test_a_chain_in_the_memory_of_the_allocator(context):
    """Sums outlive the node that made them while others come and go in ggml's shared memory."""
    x, w = uniform(256, 20), uniform(256)
    weight = context.tensor(w)
    total, exact = context.tensor(x), x
    for _ in range(12):
        branch, exact_branch = context.apply("scale", total, 0.25), exact * np.float32(0.25)
        y, total = nk.rms_norm(branch, 1e-6, residual=total, weight=weight, return_sum=True)
        total = context.apply("add", total, y)
        s = exact_branch + exact
        exact = s + (normalized(s, -1, 1e-6, rms=True) * w).astype(np.float32)
    graph = nk.Graph(context, total, threads=2)
    for _ in range(3):
        graph.compute()
        assert units(total.numpy(), exact) < 40
    assert graph.intermediate_bytes < 10 * x.nbytes


def test_refusals(context):
    x, row = context.tensor(uniform(16, 4)), context.tensor(uniform(16))
    strided = context.apply("permute", context.tensor(uniform(5, 16, 2)), 1, 0, 2, 3)
    for message, make in [
        ("residual", lambda: nk.norm(x, 1e-5, residual=row)),
        ("in one row", lambda: nk.norm(x, 1e-5, weight=x)),
        ("repeats", lambda: nk.norm(x, 1e-5, sample_scale=context.tensor(uniform(16, 3)))),
        ("ggml_cont", lambda: nk.rms_norm(strided, 1e-5, in_place=True)),
        ("sum", lambda: nk.norm(x, 1e-5, residual=x, return_sum=True, in_place=True)),
        ("sum", lambda: nk.norm(x, 1e-5, residual=x, return_sum=True, dtype=np.float16)),
        ("x is not of type", lambda: nk.norm(context.tensor(np.ones(4, np.int32)), 1e-5)),
        ("epsilon", lambda: nk.norm(x, -1.0)),
        ("groups", lambda: nk.group_norm(context.tensor(uniform(2, 2, 6)), 4, 1e-5)),
        ("activation", lambda: nk.norm(x, 1e-5, activation="softmax")),
    ]:
        with pytest.raises(ValueError, match=message):
            make()
    with pytest.raises(TypeError, match="gamma"):
        nk.norm(x, 1e-5, gamma=row)


def test_what_fails_in_a_run_is_reported(context):
    """An overlap is seen when the graph is computed."""
    memory = context.tensor(uniform(32))
    x = context.apply("view_4d", memory, 16, 1, 1, 1, 64, 64, 64, 0)
    other = context.apply("view_4d", memory, 16, 1, 1, 1, 64, 64, 64, 32)
    y = nk.norm(x, 1e-5, residual=other, in_place=True)
    with pytest.raises(normkit.NormKitError, match="overlap"):
        compute(context, y)


def test_contexts_end(context):
    small = nk.Context(tensors=8)
    x = small.tensor(np.ones(4, np.float32))
    with pytest.raises(MemoryError, match="tensors"):
        for _ in range(10):
            nk.norm(x, 1e-5)
    graph = nk.Graph(small, x)
    small.close()
    small.close()
    with pytest.raises(ValueError, match="closed"):
        graph.compute()
    with pytest.raises(ValueError, match="threads"):
        nk.Graph(context, x, threads=64)


def test_from_c(tmp_path):
    """The example in C agrees with ggml's own operators."""
    import libggml

    ggml, folder = Path(libggml.__path__[0]), ROOT / "bindings" / "ggml"
    library = Path(normkit.library_path())
    program = tmp_path / "example"
    subprocess.run(
        ["cc", "-std=c11", "-pedantic", "-Wall", "-Wextra", "-Werror", f"-I{ROOT / 'include'}",
         f"-I{ggml / 'include'}", *(folder / name for name in ("example.c", "normkit_ggml.c", "layout.c")), library,
         f"-L{ggml / 'lib64'}", "-lggml-cpu", "-lggml-base", "-lm", f"-Wl,-rpath,{ggml / 'lib64'}", "-o", program],
        check=True)
    (tmp_path / "libnormkit.so.0").symlink_to(library.resolve())
    printed = subprocess.run(
        [program], capture_output=True, text=True, env={**os.environ, "LD_LIBRARY_PATH": str(tmp_path)})
    assert printed.returncode == 0, printed.stdout + printed.stderr


@pytest.fixture
def example(monkeypatch):
    pytest.importorskip("tokenizers")
    monkeypatch.syspath_prepend(str(ROOT / "bindings" / "python" / "examples"))
    import ggml_norms

    return ggml_norms


def test_encoder(example):
    """A real network: both graphs give the embeddings of the encoder in f64, NormKit's with fewer nodes."""
    encoder = example.sentence_encoder
    texts = encoder.SENTENCES[:3]
    exact = encoder.Encoder(np.float64, encoder.numpy_layer_norm, encoder.numpy_l2_normalize).encode(texts)
    nodes = []
    with nk.Context(tensors=4096) as context:
        network = example.Encoder(context, encoder.Encoder(np.float32, None, None), texts)
        for norms in example.BOTH:
            states = network.states(norms)
            graph = nk.Graph(context, states, threads=1)
            graph.compute()
            nodes.append(graph.node_count)
            np.testing.assert_allclose(network.embeddings(states), exact, rtol=0, atol=example.LIMIT)
    assert nodes[0] - nodes[1] == 2 + 12 * 4  # of five nodes one is left, and of the first three


def test_other_networks(example):
    """What the example times is the same computation."""
    with nk.Context(tensors=4096) as context:
        for what, (plain, fused) in example.other_networks(context):
            results = compute(context, *plain, *fused)
            for theirs, mine in zip(results[:len(plain)], results[len(plain):]):
                np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-5, err_msg=what)
