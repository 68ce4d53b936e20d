"""Calls that are refused: the exception names the argument, and nothing has been written."""

import array
import pickle

import numpy as np
import pytest

import normkit

torch = pytest.importorskip("torch")

X = np.ones((4, 6, 5), np.float32)
ROW, CHANNEL = np.ones(5, np.float32), np.ones(6, np.float32)


def read_only(values):
    values = values.copy()
    values.flags.writeable = False
    return values


def big_endian(values):
    return values.astype(values.dtype.newbyteorder(">"))


def gradient(values):
    return torch.from_numpy(values.copy()).requires_grad_()


def running(**changed):
    """running_mean and running_var by name, one of them changed."""
    return {"running_mean": CHANNEL.copy(), "running_var": CHANNEL.copy(), **changed}


def overlapping(out="out"):
    whole = np.ones(200, np.float32)
    return {"x": whole[:120].reshape(4, 6, 5), out: whole[60:180].reshape(4, 6, 5)}


def folding(**changed):
    """Arguments of fold_batch_norm, one of them changed."""
    return {"weight": X, "bias": None, **running(), "channel_axis": 1, **changed}


L, R, B, I, G = (normkit.layer_norm, normkit.rms_norm, normkit.batch_norm, normkit.instance_norm, normkit.group_norm)
W, N, M, S = normkit.weight_norm, normkit.normalize, normkit.moments, normkit.scale_shift

LB, RB, BB, GB = (
    normkit.layer_norm_backward, normkit.rms_norm_backward, normkit.batch_norm_backward, normkit.group_norm_backward
)
WB, NB, MB, SB = (
    normkit.weight_norm_backward, normkit.normalize_backward, normkit.moments_backward, normkit.scale_shift_backward
)
P, F = normkit.weight_penalty, normkit.fold_batch_norm
DX, SHARED = {"dy": X + 1, "x": X}, ROW.copy()

# Function, arguments, exception, what its message says.
REFUSED = [
    # arrays
    (L, {"x": X.astype(np.int64)}, TypeError, "x has dtype int64.*float32, float64, float16 and bfloat16"),
    (L, {"x": torch.ones(3, 4, dtype=torch.int32)}, TypeError, "x has dtype torch.int32.*bfloat16"),
    (L, {"x": big_endian(X)}, TypeError, "x has dtype >f4.*native byte order"),
    (L, {"x": bytearray(80)}, TypeError, r"x has dtype uint8.*memoryview\(...\).cast"),
    (L, {"x": [1.0, 2.0]}, TypeError, "x is a list"),
    (L, {"x": array.array("i", [1, 2])}, TypeError, "x has dtype int32"),
    (L, {"x": np.ma.masked_array(X, X > 0)}, TypeError, "x is a masked array"),
    (L, {"x": gradient(X)}, ValueError, r"x requires grad.*x.detach\(\)"),
    (L, {"x": torch.ones(3, 4, device="meta")}, TypeError, "x is a .* tensor on meta"),
    (L, {"x": torch.eye(3).to_sparse()}, TypeError, "x is a torch.sparse_coo tensor"),
    (L, {"x": torch.imag(torch.ones(2, 3, dtype=torch.complex64).conj())}, ValueError, "x .*resolve_neg"),
    (L, {"x": np.float32(1)}, ValueError, "x has shape ()"),
    # out
    (L, {"x": X, "out": np.ones((4, 6, 5))}, TypeError, "out has dtype float64; it must have float32"),
    (L, {"x": X, "out": np.ones((4, 5, 6), np.float32)}, ValueError, r"out has shape \(4, 5, 6\).*\(4, 6, 5\)"),
    (L, {"x": X, "out": read_only(X)}, ValueError, "out is read-only"),
    (L, {"x": X, "out": memoryview(X.tobytes()).cast("f", X.shape)}, ValueError, "out is read-only"),
    (L, {"x": X, "out": np.ones((4, 6, 10), np.float32)[..., ::2]}, ValueError, "out is not contiguous"),
    (L, {"x": X, "out": np.ones((4, 6, 5), np.float32)[::-1]}, ValueError, "out is not contiguous"),
    (N, {"x": X, "out": np.ones((4, 6, 9), np.float32)[..., :5]}, ValueError, "out is not contiguous"),
    (L, {"x": X, "out": gradient(X)}, ValueError, "out requires grad"),
    (L, overlapping(), normkit.NormKitError, "output overlaps"),
    (N, {**overlapping(), "p": 2}, normkit.NormKitError, "output overlaps"),
    # weight and bias
    (L, {"x": X, "weight": CHANNEL}, ValueError, r"the shape of weight is \(6,\); x has shape \(4, 6, 5\)"),
    (L, {"x": X, "weight": (5,)}, TypeError, "weight is a tuple"),
    (L, {"x": X, "bias": CHANNEL, "normalized_shape": 5}, ValueError, r"bias has shape \(6,\).*\(5,\)"),
    (R, {"x": X, "weight": ROW, "bias": CHANNEL}, ValueError, r"bias has shape \(6,\).*\(5,\)"),
    (L, {"x": X, "weight": ROW.astype(np.float64)}, TypeError, "weight has dtype float64; it must have float32"),
    (G, {"x": X.astype(np.float16), "num_groups": 2, "weight": CHANNEL.astype(np.float64)}, TypeError,
     "weight has dtype float64; it must have float16 or float32"),
    (S, {"x": X.astype(np.float16), "weight": CHANNEL, "bias": CHANNEL.astype(np.float16)}, TypeError,
     "weight and bias have different dtypes"),
    (S, {"x": X, "weight": gradient(CHANNEL)}, ValueError, "weight requires grad"),
    (W, {"v": X, "g": CHANNEL}, ValueError, r"g has shape \(6,\); it must have \(4,\) or \(4, 1, 1\)"),
    # choices
    (L, {"x": X, "normalized_shape": (6, 4)}, ValueError, r"normalized_shape is \(6, 4\)"),
    (L, {"x": X, "normalized_shape": ()}, ValueError, r"normalized_shape is \(\)"),
    (L, {"x": X, "normalized_shape": 5, "channel_axis": 1}, ValueError, "normalized_shape and channel_axis"),
    (L, {"x": X, "channel_axis": 0}, ValueError, "channel_axis is 0; it must be 1 .* or -1"),
    (B, {"x": np.ones((2, 6, 3, 3), np.float32), **running(), "channel_axis": 2}, ValueError, "channel_axis is 2"),
    (B, {"x": CHANNEL, **running()}, ValueError, r"x has shape \(6,\)"),
    (L, {"x": X, "eps": -1}, normkit.NormKitError, "epsilon is negative"),
    (R, {"x": X, "eps": float("nan")}, normkit.NormKitError, "epsilon is negative, infinite or NaN"),
    (G, {"x": X, "num_groups": 4}, ValueError, "num_groups is 4; it must divide the 6 channels of x"),
    (G, {"x": X, "num_groups": 0}, ValueError, "num_groups is 0"),
    (W, {"v": X, "norm": "l3"}, ValueError, "norm is 'l3'"),
    (W, {"v": X, "dim": 3}, ValueError, "dim is 3; v has 3 axes"),
    (S, {"x": X, "channel_axis": 3}, ValueError, "channel_axis is 3; x has 3 axes"),
    (N, {"x": X, "axes": 3}, ValueError, "axes is 3; x has 3 axes"),
    (N, {"x": X, "axes": (1, -2)}, ValueError, r"axes is \(1, -2\); an axis is given twice"),
    (N, {"x": X, "p": 3}, ValueError, "p is 3; it must be None, 1, 2 or inf"),
    (N, {"x": np.ones((1,) * 9, np.float32)}, normkit.NormKitError, "rank"),
    (M, {"x": X, "axes": 0, "correction": 4}, normkit.NormKitError, "correction"),
    (M, {"x": np.empty((0, 2), np.float32), "axes": 0}, normkit.NormKitError, "no elements"),
    (L, {"x": X, "eps": "1e-5"}, TypeError, "eps is a str; it must be a number"),
    (L, {"x": X, "eps": None}, TypeError, "eps is a NoneType"),
    (B, {"x": X, **running(), "eps": [1]}, TypeError, "eps is a list"),
    (B, {"x": X, **running(), "training": True, "momentum": "0.1"}, TypeError, "momentum is a str"),
    (G, {"x": X, "num_groups": 2.0}, TypeError, "num_groups is a float; it must be an integer"),
    (N, {"x": X, "axes": (0, 1.0)}, TypeError, "axes is a float"),
    (L, {"x": X, "normalized_shape": 5.0}, TypeError, "normalized_shape is a float"),
    (L, {"x": X, "channel_axis": "1"}, TypeError, "channel_axis is a str"),
    (M, {"x": X, "correction": 0.5}, TypeError, "correction is a float"),
    # running statistics
    (B, {"x": X, **running(running_var=None)}, ValueError, "running_var is missing"),
    (B, {"x": X, **running(running_mean=None), "training": True}, ValueError, "running_mean is missing"),
    (B, {"x": X, **running(running_mean=None, running_var=None)}, ValueError, "running_mean and running_var are"),
    (I, {"x": X, "use_input_stats": False}, ValueError, "running_mean and running_var are missing"),
    (B, {"x": X, **running(running_mean=ROW)}, ValueError, r"running_mean has shape \(5,\)"),
    (B, {"x": X, **running(running_var=CHANNEL.astype(np.float64))}, TypeError, "running_var has dtype float64"),
    (B, {"x": X, **running(running_var=read_only(CHANNEL)), "training": True}, ValueError, "running_var is read-only"),
    (I, {"x": X, **running(running_mean=np.ones(12, np.float32)[::2])}, ValueError, "running_mean is not contiguous"),
    (B, {"x": X, **running(), "return_stats": True}, ValueError, "return_stats needs training"),
    (I, {"x": X, **running(), "use_input_stats": False, "return_stats": True}, ValueError, "return_stats needs"),
    (B, {"x": X, **running(), "training": True, "momentum": 2}, normkit.NormKitError, "momentum"),
    (I, {"x": X, **running(), "momentum": 2}, ValueError, "momentum is 2"),
    (B, {"x": X, **running(), "training": True, "momentum": None}, ValueError, "num_batches_tracked is missing"),
    (B, {"x": X, **running(), "training": True, "momentum": None, "num_batches_tracked": -1}, ValueError,
     "num_batches_tracked is -1"),
    (B, {"x": X[:1, :, 0], **running(), "training": True}, normkit.NormKitError, "one value per channel"),
    (I, {"x": X[:, :, :1], **running()}, ValueError, "x has 4 samples of 1 positions"),
    (I, {"x": X[:0], **running()}, ValueError, "x has 0 samples"),
    # dy and the gradients that are wanted
    (LB, {"dy": X[:3], "x": X}, ValueError, r"dy has shape \(3, 6, 5\); it must have \(4, 6, 5\)"),
    (LB, {"dy": X.astype(np.float64), "x": X}, TypeError, "dy has dtype float64; it must have float32"),
    (GB, {"dy": [1.0], "x": X, "num_groups": 2}, TypeError, "dy is a list"),
    (LB, {"dy": gradient(X), "x": X}, ValueError, r"dy requires grad.*normkit.torch.*dy.detach\(\)"),
    (LB, {"dy": X, "x": None}, TypeError, "x is a NoneType"),
    (BB, {"dy": X, "x": None, "output_mask": (True, False, False)}, TypeError, "x is a NoneType"),
    (SB, {"dy": X, "x": None}, TypeError, "x is a NoneType"),
    (LB, {**DX, "output_mask": True}, TypeError, r"output_mask is a bool; it must be \(dx, dweight, dbias\)"),
    (LB, {**DX, "output_mask": (True, True)}, ValueError, r"output_mask has 2 entries; .*\(dx, dweight, dbias\)"),
    (WB, {"dw": X, "v": X, "output_mask": (True,) * 3}, ValueError, r"output_mask has 3 entries.*\(dv, dg\)"),
    (LB, {**DX, "dx": X.copy(), "output_mask": (False, True, True)}, ValueError, "dx is given, and output_mask"),
    (BB, {**DX, "dbias": CHANNEL.copy(), "output_mask": (True, True, False)}, ValueError, "dbias is given"),
    (LB, {**DX, "accumulate": True}, ValueError, "dweight is missing; accumulate adds to what it holds"),
    (LB, {**DX, "dweight": ROW.copy(), "accumulate": True}, ValueError, "dbias is missing"),
    # where gradients go
    (LB, {**DX, "dx": np.ones((4, 6, 5))}, TypeError, "dx has dtype float64; it must have float32"),
    (LB, {**DX, "dx": np.ones((4, 5, 6), np.float32)}, ValueError, r"dx has shape \(4, 5, 6\)"),
    (NB, {**DX, "dx": read_only(X)}, ValueError, "dx is read-only"),
    (MB, {"dmean": None, "dvar": None, "x": X, "dx": read_only(X)}, ValueError, "dx is read-only"),
    (LB, {**DX, "dweight": CHANNEL.copy()}, ValueError, r"dweight has shape \(6,\); it must have \(5,\)"),
    (LB, {"dy": X.astype(np.float16), "x": X.astype(np.float16), "dweight": ROW.astype(np.float16)}, TypeError,
     "dweight has dtype float16; it must have float32"),
    (RB, {**DX, "dbias": read_only(ROW)}, ValueError, "dbias is read-only"),
    (GB, {**DX, "num_groups": 2, "dweight": np.ones(12, np.float32)[::2]}, ValueError, "dweight is not contiguous"),
    (WB, {"dw": X, "v": X, "dg": ROW.copy()}, ValueError, r"dg has shape \(5,\); it must have \(4,\) or \(4, 1, 1\)"),
    (LB, {"dy": X + 1, **overlapping("dx")}, normkit.NormKitError, "dx .* overlaps"),
    (NB, {"dy": X + 1, **overlapping("dx")}, normkit.NormKitError, "dx .* overlaps"),
    (LB, {**DX, "dweight": SHARED, "dbias": SHARED}, normkit.NormKitError, "a gradient of parameters overlaps"),
    # statistics that were saved
    (LB, {**DX, "stats": X}, ValueError, r"stats has to be \(mean, rstd\)"),
    (LB, {**DX, "stats": 1.0}, TypeError, r"stats is a float; it must be \(mean, rstd\)"),
    (LB, {**DX, "stats": (X[..., 0], None)}, ValueError, r"stats has to be \(mean, rstd\)"),
    (NB, {**DX, "p": 2, "stats": (X[..., 0], X[..., 0])}, ValueError, r"stats has to be \(norm\)"),
    (LB, {**DX, "stats": (X[..., 0], X[0])}, ValueError, r"rstd in stats has shape \(6, 5\); it must have \(4, 6\)"),
    (GB, {**DX, "num_groups": 2, "stats": (X[:, 0, :2].astype(np.float64), X[:, 0, :2])}, TypeError,
     "mean in stats has dtype float64; it must have float32"),
    (RB, {**DX, "rstd": ROW}, ValueError, r"rstd has shape \(5,\); it must have \(4, 6\)"),
    (WB, {"dw": X, "v": X, "norms": ROW}, ValueError, r"norms has shape \(5,\); it must have \(4,\)"),
    (BB, {**DX, **running(), "training": False, "stats": (CHANNEL, CHANNEL)}, ValueError, "stats needs training"),
    (BB, {**DX, "training": False}, ValueError, "running_mean and running_var are missing"),
    (BB, {**DX, **running(running_var=ROW), "training": False}, ValueError, r"running_var has shape \(5,\)"),
    (BB, {"dy": X[:1, :, 0], "x": X[:1, :, 0]}, normkit.NormKitError, "more than one value per channel"),
    # choices of backward functions
    (LB, {**DX, "weight": CHANNEL}, ValueError, r"the shape of weight is \(6,\)"),
    (LB, {**DX, "normalized_shape": 5, "channel_axis": 1}, ValueError, "normalized_shape and channel_axis"),
    (LB, {**DX, "eps": -1}, normkit.NormKitError, "epsilon is negative"),
    (BB, {**DX, "weight": gradient(CHANNEL)}, ValueError, "weight requires grad"),
    (BB, {**DX, "eps": "1e-5"}, TypeError, "eps is a str"),
    (BB, {**DX, "channel_axis": 0}, ValueError, "channel_axis is 0"),
    (GB, {**DX, "num_groups": 4}, ValueError, "num_groups is 4; it must divide the 6 channels of x"),
    (WB, {"dw": X, "v": X, "norm": "l3"}, ValueError, "norm is 'l3'"),
    (WB, {"dw": X, "v": X, "dim": 3}, ValueError, "dim is 3; v has 3 axes"),
    (WB, {"dw": X[:3], "v": X}, ValueError, r"dw has shape \(3, 6, 5\)"),
    (NB, {**DX, "p": 3}, ValueError, "p is 3; it must be None, 1, 2 or inf"),
    (NB, {**DX, "axes": 3}, ValueError, "axes is 3; x has 3 axes"),
    (SB, {**DX, "channel_axis": 3}, ValueError, "channel_axis is 3; x has 3 axes"),
    (MB, {"dmean": X, "dvar": None, "x": X, "axes": 0}, ValueError, r"dmean has shape \(4, 6, 5\).*\(6, 5\)"),
    (MB, {"dmean": None, "dvar": X[0].astype(np.float64), "x": X, "axes": 0}, TypeError, "dvar has dtype float64"),
    (MB, {"dmean": None, "dvar": X[0], "x": X, "axes": 0, "correction": 4}, normkit.NormKitError, "correction"),
    # weights
    (P, {"w": X, "strength": -1}, normkit.NormKitError, "strength is negative"),
    (P, {"w": X, "strength": "1"}, TypeError, "strength is a str"),
    (P, {"w": X, "strength": 1, "norm": "max"}, ValueError, "norm is 'max'; it must be 'l1' or 'l2'"),
    (P, {"w": X, "strength": 1, "accumulate": True}, ValueError, "dw is missing; accumulate adds"),
    (P, {"w": X, "strength": 1, "dw": X.astype(np.float64)}, TypeError, "dw has dtype float64"),
    (P, {"w": X, "strength": 1, "dw": X}, normkit.NormKitError, "dw of the penalty overlaps"),
    (P, {"w": X, "strength": 1, "dw": X.copy(), "output_mask": (True, False)}, ValueError, "dw is given"),
    (F, folding(weight=X.astype(np.float16)), TypeError, "weight has dtype float16; it must have float32 or float64"),
    (F, folding(bias=ROW), ValueError, r"bias has shape \(5,\); it must have \(6,\)"),
    (F, folding(running_var=None), TypeError, "running_var is a NoneType"),
    (F, folding(gamma=CHANNEL.astype(np.float64)), TypeError, "gamma has dtype float64; it must have float32"),
    (F, folding(channel_axis=3), ValueError, "channel_axis is 3; weight has 3 axes"),
    (F, folding(eps=-1), normkit.NormKitError, "epsilon is negative"),
]


def snapshot(arguments):
    return {
        name: value.tobytes() if isinstance(value, np.ndarray) else value.detach().numpy().tobytes()
        for name, value in arguments.items()
        if isinstance(value, np.ndarray) or (isinstance(value, torch.Tensor) and value.requires_grad)
    }


@pytest.mark.parametrize(("function", "arguments", "exception", "message"), REFUSED)
def test_refused(function, arguments, exception, message):
    before = snapshot(arguments)
    for _ in range(3):  # the third call knows what the first ones were like
        with pytest.raises(exception, match=message) as caught:
            function(**arguments)
        assert caught.type is exception
        assert snapshot(arguments) == before


def test_status_of_the_library():
    with pytest.raises(normkit.NormKitError) as caught:
        normkit.layer_norm(X, eps=-1)
    assert caught.value.status == normkit.Status.ERROR_EPSILON
    assert caught.value.function == "normkit_layer_norm"
    assert isinstance(caught.value, ValueError)
    assert "epsilon" in caught.value.sentence and caught.value.sentence in str(caught.value)
    # As between processes.
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (str(copy), copy.status) == (str(caught.value), caught.value.status)


@pytest.mark.parametrize("other", ["x", "out", "running_var"])
def test_running_statistics_that_overlap(other):
    x = np.arange(120, dtype=np.float32).reshape(4, 6, 5)
    out, variance = np.zeros_like(x), np.ones(6, np.float32)
    mean = {"x": x, "out": out, "running_var": variance}[other].reshape(-1)[:6]
    before = [a.tobytes() for a in (x, out, variance)]
    with pytest.raises(ValueError, match=f"running_mean overlaps {other}"):
        normkit.instance_norm(x, mean, variance, out=out)
    with pytest.raises(normkit.NormKitError):
        normkit.batch_norm(x, mean, variance, training=True, out=out)
    assert [a.tobytes() for a in (x, out, variance)] == before


def test_gradients_are_no_obstacle_under_no_grad():
    module = torch.nn.LayerNorm(5)
    x = torch.randn(3, 5)
    with pytest.raises(ValueError, match="weight requires grad"):
        normkit.layer_norm(x, module.weight, module.bias)
    with torch.no_grad():
        torch.testing.assert_close(normkit.layer_norm(x, module.weight, module.bias), module(x))


@pytest.mark.parametrize("count", [0, -1, 257, 2**32 + 1])
def test_thread_count_out_of_range(count):
    before = normkit.get_num_threads()
    with pytest.raises(normkit.NormKitError, match="count"):
        normkit.set_num_threads(count)
    assert normkit.get_num_threads() == before
