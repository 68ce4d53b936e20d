"""What a conversion has done, and what it has left as it was."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Conversion:
    """One normalization that is computed by NormKit now.

    Attributes:
        name: the tensor that it makes.
        operator: its operator in the domain "normkit".
        source: what it was: the type of one node, or "decomposed" for several.
        taken_in: what else it does now: "residual", "bias", and the name of an activation.
    """

    name: str
    operator: str
    source: str
    taken_in: list[str] = field(default_factory=list)


@dataclass
class Left:
    """A normalization that has stayed as it was.

    Attributes:
        name: the tensor that it makes.
        op_type: the type of its node, for a decomposed one that of its last.
        reason: why.
    """

    name: str
    op_type: str
    reason: str


@dataclass
class Report:
    """What `convert` has done. `str` of it says so in a few lines."""

    converted: list[Conversion] = field(default_factory=list)
    left: list[Left] = field(default_factory=list)

    def __str__(self) -> str:
        counts = Counter(f"{c.source} -> {' + '.join([*c.taken_in, c.operator])}" for c in self.converted)
        lines = [f"{count} x {what}" for what, count in counts.items()] or ["nothing converted"]
        reasons = Counter((item.op_type, item.reason) for item in self.left)
        lines += [f"{count} x {op_type} left: {reason}" for (op_type, reason), count in reasons.items()]
        return "\n".join(lines)
