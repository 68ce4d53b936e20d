"""The same bits: for any number of threads, any batch, in place, strided, and on every instruction set."""

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from support import library, tensors
from support.catalogue import absences, large_problems, short_problems
from support.checks import assert_same_bits, assert_same_with_gaps
from support.dtypes import DTYPES, F16, F32, F64
from support.execute import Run, execute
from support.memory import Offset
from support.methods import TYPED, Method, method
from support.problem import Problem
from support.strategies import small

every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)


@pytest.mark.parametrize(("method", "dtype"), [(m, d) for m, d in TYPED if d in (F32, F64, F16)], ids=str)
def test_threads(method, dtype):
    for problem in large_problems(method, dtype, absences(method)):
        with library.threads(1):
            alone = execute(problem)
        for count in (2, 3, 8):
            with library.threads(count):
                assert_same_bits(execute(problem), alone, f"{count} threads, {problem}")


@every_dtype
def test_signs_of_zeros(dtype):
    """Gradients that are zero have the same sign however many sets are taken together."""
    for name, sizes in (("weight_norm_backward", {"outer": 1, "slices": 1003, "inner": 129}),
                        ("group_norm_backward", {"samples": 59, "channels": 17, "groups": 17, "positions": 129}),
                        ("batch_norm_training_backward", {"samples": 259, "channels": 503, "positions": 1, "layout": 2})):
        problem = small(method(name), dtype, **sizes)
        gradient, scale = ("dw", "g") if name.startswith("weight") else ("dy", "gamma")
        values = problem.inputs[gradient].copy()
        values.reshape(-1, sizes.get("inner", sizes.get("positions")))[::2] = 0
        problem = problem.with_inputs(**{gradient: values, scale: -np.ones_like(problem.inputs[scale])})
        with library.threads(1):
            alone = execute(problem)
        for count in (2, 5):
            with library.threads(count):
                assert_same_bits(execute(problem), alone, f"{count} threads, {problem}")


def leading(method: Method) -> str | None:
    """The argument that counts independent samples, each a contiguous part of the tensor."""
    names = method.prototype.names()
    writes_records = tensors.RECORDS.keys() & set(method.prototype.outputs())
    if "batch_norm_training" in method.name or "slices" in names or writes_records:
        return None
    return next((name for name in ("rows", "samples", "outer", "shape") if name in names), None)


def alone(problem: Problem, index: int) -> Problem:
    """The problem of one sample of a batch."""
    name = leading(problem.method)
    one = (1, *problem.scalars["shape"][1:]) if name == "shape" else 1
    changes = {name: values[index:index + 1] for name, values in problem.inputs.items() if of_samples(problem, name)}
    return problem.with_scalars(**{name: one}).with_inputs(**changes)


def of_samples(problem: Problem, name: str) -> bool:
    """Whether a tensor has a part for each sample: data, and statistics of sets that samples have on their own."""
    is_statistic = name in tensors.STATISTICS or name in ("dmean", "dvariance")
    return name in tensors.DATA or is_statistic and 0 in problem.view.kept


SAMPLES = [dict(size=7, channels=4, positions=7), dict(size=64, channels=16, positions=33),
           dict(size=1000, channels=130, positions=1), dict(size=1025, channels=32, positions=65)]


BATCHES = [(m, dtype, layout) for m, dtype in TYPED if leading(m) for layout in (1, 2)
           if layout == 1 or "layout" in m.prototype.names()]


@pytest.mark.parametrize("sizes", SAMPLES, ids=lambda sizes: str(sizes["size"]))
@pytest.mark.parametrize(("method", "dtype", "layout"), BATCHES, ids=str)
def test_one_sample_in_a_batch_of_1000(method, dtype, layout, sizes):
    channels, positions = sizes["channels"], sizes["positions"]
    batch = {name: 1000 for name in ("rows", "samples", "outer")}
    problem = small(method, dtype, **batch, **sizes, layout=layout, inner=positions,
                    shape=(1000, positions, channels), axes=(1, 2), correction=0)
    own = [name for name in problem.written() if of_samples(problem, name) or name in method.essential]
    problem = problem.asking_for(*own)
    together = execute(problem)
    for index in (0, 1, 500, 999):
        part = {name: values[index:index + 1] if of_samples(problem, name) else values
                for name, values in together.outputs.items()}
        assert_same_bits(execute(alone(problem, index)), type(together)(together.status, part), f"sample {index}")


LENGTHS = (1, 2, 7, 16, 37, 64, 130, 1025)


@every_dtype
def test_in_place_and_offsets(dtype):
    for problem in short_problems(dtype, LENGTHS):
        wanted = execute(problem, Offset(0))
        assert_same_bits(execute(problem, Offset(1)), wanted, f"other offsets, {problem}")
        for place in problem.places:
            assert_same_bits(execute(problem, Offset(2), in_place=place), wanted, f"in place, {place}, {problem}")


@every_dtype
def test_runs_that_begin_anywhere_in_a_line(dtype):
    """Vectors of a run overlap, and what is read next may be what was written before."""
    for length in range(16, 50):
        for name in ("batch_norm_inference", "instance_norm"):
            problem = small(method(name), dtype, samples=1, channels=5, positions=length)
            wanted = execute(problem, Offset(0))
            for place in problem.places:
                for seed in range(4):
                    assert_same_bits(execute(problem, Offset(seed), in_place=place), wanted, f"{place}, {problem}")


@every_dtype
def test_each_output_alone(dtype):
    """No output changes a bit with what is asked for beside it."""
    for problem in short_problems(dtype, (1, 7, 37, 130)):
        free = frozenset().union(*(names for names in problem.method.optional if len(names) == 1))
        required = [name for name in problem.written() if name not in free and not tensors.is_running(name)]
        wanted = execute(problem)
        for name in problem.written():
            if not tensors.is_running(name):
                run = execute(problem.asking_for(name, *required))
                part = {name: wanted.outputs[name] for name in run.outputs}
                assert_same_bits(run, Run(wanted.status, part), f"{name} alone: {problem}")


@pytest.mark.parametrize("length", [7, 9, 16, 49])
@every_dtype
def test_dx_without_gamma(dtype, length):
    """In columns, it is the same whether gradients of parameters are wanted or not, and with a gamma of ones."""
    sizes = {"samples": 11, "channels": 5, "positions": length, "layout": 1}
    last = {"samples": 3, "channels": 3 * length, "positions": 9, "groups": 3, "layout": 2}
    for name, chosen in (("batch_norm_training_backward", sizes), ("group_norm_backward", last)):
        problem = small(method(name), dtype, **chosen)
        dx = execute(problem.with_inputs(gamma=np.ones_like(problem.inputs["gamma"]))).outputs["dx"]
        absent = problem.with_inputs(gamma=None)
        for outputs in (absent.outputs, ("dx",)):
            run = execute(absent.asking_for(*outputs))
            assert_same_bits(Run(run.status, {"dx": run.outputs["dx"]}), Run(0, {"dx": dx}), f"{outputs}, {problem}")


@every_dtype
def test_strides(dtype):
    for problem in short_problems(dtype, LENGTHS):
        names = problem.method.strides
        if names:
            wanted = execute(problem)
            run = problem.view.run
            for gaps in ((0, 0, 0), (1, None, 2), (None, 5, 7), (64, 64, 64)):
                found = {name: 0 if gap is None else run + gap for name, gap in zip(names, gaps, strict=False)}
                strided = problem.with_scalars(**found)
                assert_same_with_gaps(strided, execute(strided), wanted)


def python(isa: str, *arguments: str) -> str:
    """What a Python program prints under an instruction set."""
    return subprocess.run([sys.executable, *arguments], cwd=Path(__file__).parent, check=True,
                          env=os.environ | {"NORMKIT_ISA": isa}, stdout=subprocess.PIPE, text=True).stdout.strip()


@cache
def digest(isa: str) -> dict | None:
    """Output of support.digest under an instruction set; None if the processor lacks it."""
    if python(isa, "-c", "from support import library; print(library.isa())") != isa:
        return None
    return json.loads(python(isa, "-m", "support.digest"))


def digest_or_skip(isa: str) -> dict:
    return digest(isa) or pytest.skip(f"this processor lacks {isa}")


@pytest.mark.parametrize("isa", ["x86-64-v2", "x86-64-v3", "x86-64-v4", "x86-64-v4-bf16", "arm64"])
def test_every_instruction_set_is_accurate(isa):
    assert digest_or_skip(isa)["too_far"] == []


@pytest.mark.parametrize("isa", ["x86-64-v4", "x86-64-v4-bf16"])
def test_x86_64_v4_gives_the_bits_of_v3(isa):
    wanted, found = digest_or_skip("x86-64-v3")["digest"], digest_or_skip(isa)["digest"]
    assert {name for name in wanted if wanted[name] != found[name]} == set()
