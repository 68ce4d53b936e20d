"""Print the constants of Activation.swift, HalfActivation.swift and GeluTail.swift in Sources/Kernels, as hexadecimal
floating-point numbers.

All series are minimax polynomials by the exchange algorithm of Remez, whose largest error relative to what the series
is part of is as small as their degree allows; coefficients are then rounded. Printed errors are those after rounding,
as powers of two: of exp(r) - 1 relative to itself, and of what is left of the normal distribution function N when its
decay is taken away, R(t) = N(-t) exp(t^2 / 2), relative to itself.

For f64, R(t) = S(v) / (t + c) with v = t / (t + c) in 0...1, and there is one series of S. For f32 there are eight of R,
one for each half octave of t + 1. Series are about a center, among many the one where rounding the coefficients costs
least.

Needs mpmath. Takes a minute or two.
"""

from collections.abc import Callable
from dataclasses import dataclass

import mpmath
import numpy as np
from mpmath import mp, mpf

mp.prec = 240
GRID = 320
Function = Callable[[mpf], mpf]


@dataclass(frozen=True)
class Format:
    name: str
    type: type[np.floating]
    end: float  # Gelu's tail is 0 from this t on
    ln2_bits: int  # after the point, so that multiples of the first part of ln 2 are exact
    linear_bits: int  # the same for the sums of GeluTanh

    def round(self, value: mpf) -> mpf:
        return mpf(float(self.type(mpmath.nstr(value, 25))))

    def parts(self, value: mpf, bits: int | None = None) -> tuple[mpf, mpf]:
        high = self.round(value) if bits is None else mpmath.floor(mpmath.ldexp(value, bits)) / mpf(2) ** bits
        return high, self.round(value - high)


FORMATS = (
    Format("f32", np.float32, 14.6, 15, 20),
    Format("f64", np.float64, 38.8, 41, 46),
)
SHIFT = mpf(4)  # c
STARTS = (0, 0.5, 1, 2, 3, 5, 7, 11)  # of the pieces, as t


def value(coefficients: list[mpf], x: mpf) -> mpf:
    return mpmath.polyval(coefficients[::-1], x)


def extremes(errors: list[mpf], count: int) -> list[int]:
    """Indices of the largest errors of alternating sign, `count` of them."""
    found: list[int] = []
    for k, error in enumerate(errors):
        if found and (errors[found[-1]] > 0) == (error > 0):
            if abs(error) > abs(errors[found[-1]]):
                found[-1] = k
        else:
            found.append(k)
    while len(found) > count:
        if len(found) == count + 1:
            found.pop(0 if abs(errors[found[0]]) < abs(errors[found[-1]]) else -1)
        else:
            pairs = range(len(found) - 1)
            least = min(pairs, key=lambda i: max(abs(errors[found[i]]), abs(errors[found[i + 1]])))
            del found[least:least + 2]
    return found


def minimax(f: Function, weight: Function, degree: int, low: mpf, high: mpf) -> tuple[list[mpf], Function]:
    """The coefficients whose largest weight * |polynomial - f| is least, and that largest error of any coefficients."""
    xs = [(low + high) / 2 - (high - low) / 2 * mpmath.cos(mp.pi * i / GRID) for i in range(GRID + 1)]
    fs, weights = [f(x) for x in xs], [abs(weight(x)) for x in xs]

    def errors(coefficients: list[mpf]) -> list[mpf]:
        return [w * (value(coefficients, x) - y) for x, y, w in zip(xs, fs, weights)]

    points = [round(GRID * (1 - float(mpmath.cos(mp.pi * i / (degree + 1)))) / 2) for i in range(degree + 2)]
    for _ in range(30):
        system = mpmath.matrix(degree + 2, degree + 2)
        for row, k in enumerate(points):
            for power in range(degree + 1):
                system[row, power] = weights[k] * xs[k] ** power
            system[row, degree + 1] = (-1) ** row
        solution = mpmath.lu_solve(system, mpmath.matrix([weights[k] * fs[k] for k in points]))
        coefficients = [solution[i] for i in range(degree + 1)]
        following = extremes(errors(coefficients), degree + 2)
        if following == points or len(following) < degree + 2:
            break
        points = following
    return coefficients, lambda c: max(map(abs, errors(c)))


def exponential(form: Format, degree: int) -> tuple[list[mpf], mpf]:
    def series(r: mpf) -> mpf:
        return (mpmath.expm1(r) - r) / r**2 if abs(r) > 1e-20 else mpf(1) / 2

    def weight(r: mpf) -> mpf:
        return r**2 / mpmath.expm1(r) if r else mpf(0)

    half = mpmath.log(2) / 2 * mpf("1.0001")
    coefficients, largest = minimax(series, weight, degree, -half, half)
    rounded = [form.round(c) for c in coefficients]
    return rounded, largest(rounded)


def remains(t: mpf) -> mpf:
    """R."""
    return mpmath.exp(t * t / 2) * mpmath.erfc(t / mpmath.sqrt(2)) / 2


@dataclass(frozen=True, order=True)
class Series:
    error: mpf
    center: mpf
    coefficients: list[mpf]

    @classmethod
    def of(cls, form: Format, f: Function, degree: int, low: mpf, high: mpf, centers: list[mpf]) -> "Series":
        def about(center: mpf) -> "Series":
            coefficients, largest = minimax(
                lambda u: f(u + center), lambda u: 1 / f(u + center), degree, low - center, high - center)
            rounded = [form.round(k) for k in coefficients]
            return cls(largest(rounded), center, rounded)

        return min(about(center) for center in centers)


def whole_tail(form: Format, degree: int) -> Series:
    def smooth(v: mpf) -> mpf:
        t = SHIFT * v / (1 - v)
        return remains(t) * (t + SHIFT)

    end = form.end / (form.end + SHIFT)
    return Series.of(form, smooth, degree, mpf(0), end, [mpf(k) / 256 for k in range(104, 122, 3)])


def pieces(form: Format, degree: int) -> list[Series]:
    """In the order of the last three bits of the number of a half octave."""
    found = []
    for low, high in zip(STARTS, (*STARTS[1:], form.end)):
        low, high = mpf(low), mpf(high)
        centers = [(low + high) / 2 + k * (high - low) / 256 for k in range(-4, 5)]
        found.append(Series.of(form, remains, degree, low, high, [form.round(c) for c in centers]))
    return found[2:] + found[:2]


def show(name: str, *numbers: mpf) -> None:
    print(f"  {name:22}" + " ".join(float(x).hex() for x in numbers))


def show_pieces(name: str, series: list[Series]) -> None:
    print(name)
    show("centers", *(one.center for one in series))
    for power in range(len(series[0].coefficients)):
        show(f"power {power}", *(one.coefficients[power] for one in series))
    print("    errors " + " ".join(f"2^{float(mpmath.log(one.error, 2)):.1f}" for one in series))


def main() -> None:
    for form in FORMATS:
        print(form.name)
        show("ln2", *form.parts(mpmath.log(2), form.ln2_bits))
        linear = 2 * mpmath.sqrt(2 / mp.pi)
        show("geluLinear", *form.parts(linear, form.linear_bits))
        show("geluCubic", *form.parts(linear * mpf("0.044715")))
    for name, form, degree in (("", FORMATS[0], 4), (" of halves", FORMATS[0], 3), (" of f64", FORMATS[1], 10)):
        coefficients, error = exponential(form, degree)
        print("exponentialSeries" + name)
        show("powers", *coefficients)
        print(f"    error 2^{float(mpmath.log(error, 2)):.1f}")
    show_pieces("geluTail", pieces(FORMATS[0], 7))
    show_pieces("geluTail of halves", pieces(FORMATS[0], 5))
    whole = whole_tail(FORMATS[1], 24)
    print("geluTail of f64")
    show("center", whole.center)
    show("series", *whole.coefficients)
    print(f"    error 2^{float(mpmath.log(whole.error, 2)):.1f}")


if __name__ == "__main__":
    main()
