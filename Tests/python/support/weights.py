"""Reference of what is done to weights: penalties, and folding of batch normalization."""

import numpy as np

from .gradients import added
from .header import constants
from .reference import Expected, Tensor, reciprocal


@np.errstate(all="ignore")
def penalty(problem) -> dict[str, Expected]:
    t = Tensor(problem)
    strength = np.longdouble(problem.scalars["strength"])
    if problem.scalars["norm"] == constants()["L1"]:
        value, dw = strength * np.sum(np.abs(t.x)), strength * np.sign(t.x)
    else:
        value, dw = strength / 2 * np.sum(t.x * t.x), strength * t.x
    return {"value": Expected(value, value), "dw": added(problem, "dw", Expected(dw, np.abs(dw)))}


@np.errstate(all="ignore")
def fold(problem) -> dict[str, Expected]:
    t = Tensor(problem)
    factor = t.parameter("gamma", 1) * reciprocal(np.sqrt(t.parameter("variance", 1) + t.epsilon))
    weight = t.x * factor
    terms = t.parameter("bias", 0) * factor, -t.parameter("mean", 0) * factor, t.parameter("beta", 0)
    magnitude = np.max([np.abs(t.per_channel(term)) for term in terms], axis=0)
    return {"folded_weight": Expected(weight, np.abs(weight)),
            "folded_bias": Expected(t.per_channel(sum(terms)), magnitude)}
