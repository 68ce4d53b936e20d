"""The reference of the gradients against finite differences of the forward reference, and PyTorch's autograd."""

import numpy as np
import pytest

from support.dtypes import F64
from support.methods import METHODS, method
from support.problem import Problem
from support.strategies import small

# The output of a backward function that belongs to an input of the forward one.
GRADIENTS = {"x": "dx", "v": "dv", "gamma": "dgamma", "beta": "dbeta", "g": "dg", "scale": "dscale",
             "shift": "dshift"}
BACKWARD = [m for m in METHODS if m.is_backward and "synchronized" not in m.name]
CHOICES = [{}, {"layout": 2}, {"norm": 1}, {"norm": 3}, {"epsilon_rule": 1}, {"epsilon": 0.0}, {"one_plus_gamma": 1},
           {"epsilon": 100.0}]
CASES = [(m, choice) for m in BACKWARD for choice in CHOICES if choice.keys() <= set(m.prototype.names())]


def forward_of(problem: Problem) -> Problem:
    """The forward problem that a backward one belongs to."""
    forward = method(str(problem.method).removesuffix("_backward"))
    names = forward.prototype.names()
    inputs = {name: problem.inputs.get(name) for name in forward.prototype.inputs()}
    for name in {"beta", "shift"} & inputs.keys():
        inputs[name] = np.zeros(problem.view.channel_shape)
    scalars = {name: value for name, value in problem.scalars.items() if name in names}
    return Problem(forward, F64, F64, scalars, inputs, frozenset())


def loss(forward: Problem, weights: dict[str, np.ndarray]) -> np.longdouble:
    """The sum of outputs, weighted: its gradients are what a backward function gives for these weights."""
    return sum(np.sum(forward.expected[name].value * weights[name]) for name in weights)


def weights_of(problem: Problem, forward: Problem) -> dict[str, np.ndarray]:
    if problem.method.incoming:
        return {forward.method.result: problem.inputs[problem.method.incoming]}
    return {"mean": problem.inputs["dmean"], "variance": problem.inputs["dvariance"]}


@pytest.mark.parametrize(("method", "choice"), CASES, ids=str)
def test_finite_differences(method, choice):
    """Central differences of steps h are off by h * h, and by what f64 loses of x + h: 1e-10 or less."""
    problem = small(method, F64, **choice)
    forward = forward_of(problem)
    weights, step = weights_of(problem, forward), 2.0**-17
    for name, values in forward.inputs.items():
        gradient = GRADIENTS.get(name)
        if gradient not in problem.expected:
            continue
        expected = problem.expected[gradient].value
        for index in np.ndindex(values.shape):
            sides = []
            for sign in (1, -1):
                moved = values.copy()
                moved[index] += sign * step
                sides.append((moved[index], loss(forward.with_inputs(**{name: moved}), weights)))
            (above, f_above), (below, f_below) = sides
            slope = (f_above - f_below) / (above - below)
            assert abs(slope - expected[index]) <= 1e-8 * max(1, np.abs(expected).max()), (gradient, index)


def autograd(problem: Problem) -> dict[str, np.ndarray]:
    """Gradients by PyTorch of the formula of the forward function, written once more."""
    torch = pytest.importorskip("torch")
    view, s = problem.view, problem.scalars
    leaves = {name: torch.tensor(values, requires_grad=True) for name, values in problem.inputs.items()
              if name in GRADIENTS}
    shape = [n if axis in view.channels else 1 for axis, n in enumerate(view.shape)]
    leaves |= {name: torch.zeros(view.channel_shape, dtype=torch.float64, requires_grad=True)
               for name in ("beta", "shift") if GRADIENTS[name] in problem.expected}

    def parameter(*names):
        return next((leaves[name].reshape(shape) for name in names if name in leaves), None)

    x, axes, epsilon = leaves[problem.method.data], view.reduced, s.get("epsilon", 0)
    name = str(problem.method).removesuffix("_backward")
    if name in ("weight_norm", "lp_normalize"):
        norm = torch.linalg.vector_norm(x, {1: 1, 2: 2, 3: torch.inf}[s["norm"]], axes, keepdim=True)
        z = x / (norm + epsilon if name == "weight_norm" else norm.clamp_min(epsilon))
    elif name == "rms_norm":
        z = x * torch.rsqrt((x * x).mean(axes, keepdim=True) + epsilon)
    elif name == "batch_norm_inference":
        mean, variance = (torch.tensor(problem.inputs[part]).reshape(shape) for part in ("mean", "variance"))
        z = (x - mean) / torch.sqrt(variance + epsilon)
    elif name == "scale_shift":
        z = x
    else:
        variance, mean = torch.var_mean(x, axes, correction=s.get("correction", 0), keepdim=True)
        if name == "moments":
            weights = (torch.tensor(problem.inputs[part]).reshape(mean.shape) for part in ("dmean", "dvariance"))
            of_mean, of_variance = weights
            (mean * of_mean + variance * of_variance).sum().backward()
            return {"dx": x.grad.numpy()}
        outside = s.get("epsilon_rule") == 1
        z = (x - mean) / (variance.sqrt() + epsilon if outside else (variance + epsilon).sqrt())
    gamma, beta = parameter("gamma", "g", "scale"), parameter("beta", "shift")
    gamma = 1 if gamma is None else gamma + s.get("one_plus_gamma", 0)
    y = z * gamma + (0 if beta is None else beta)
    y.backward(torch.tensor(problem.inputs[problem.method.incoming]))
    return {GRADIENTS[name]: leaf.grad.numpy() for name, leaf in leaves.items() if leaf.grad is not None}


@pytest.mark.parametrize(("method", "choice"), CASES, ids=str)
def test_autograd(method, choice):
    """In f64, whose roundings are all that the two differ by."""
    problem = small(method, F64, **choice)
    gradients = autograd(problem)
    assert set(problem.written()) == gradients.keys()
    for name, found in gradients.items():
        wanted = problem.expected[name].value
        assert np.abs(found - wanted).max() <= 1e-12 * max(1, np.abs(wanted).max()), name


@pytest.mark.parametrize("layout", [1, 2])
def test_synchronized_alone_is_training(layout):
    """Moments and sums of one process, of zeros and of its own share, give the gradient of batch normalization."""
    training = small(method("batch_norm_training_backward"), F64, layout=layout)
    x, dy, gamma = (training.inputs[name] for name in ("x", "dy", "gamma"))
    moments = small(method("moments_accumulate"), F64, layout=layout)
    moments = moments.with_inputs(x=x, moments=np.zeros((6, 3))).expected["moments"].value.astype(np.float64)
    sums = small(method("batch_norm_gradient_sums"), F64, layout=layout).with_inputs(x=x, dy=dy, moments=moments)
    sums = sums.expected["sums"].value.astype(np.float64)
    whole = small(method("batch_norm_synchronized_backward"), F64, layout=layout)
    dx = whole.with_inputs(x=x, dy=dy, gamma=gamma, moments=moments, sums=sums).expected["dx"].value
    wanted = {"dx": dx, "dbeta": sums[:, 0], "dgamma": sums[:, 1]}
    for name, values in wanted.items():
        assert np.abs(values - training.expected[name].value).max() <= 1e-14, name
