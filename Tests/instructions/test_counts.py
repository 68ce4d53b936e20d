"""No kernel takes more instructions than it is recorded to take.

Where more are wanted, for the sake of exactness or of speed, record them: see counts.py.
"""

import warnings

import counts
import pytest

TOLERANCE = 0.02


@pytest.mark.parametrize("isa", counts.ISAS)
def test_no_count_has_grown(isa):
    counted, recorded = counts.count(isa), counts.recorded()[isa]
    if not counted:
        pytest.skip(f"this processor has no {isa}")
    assert counted.keys() == recorded.keys()
    ratios = {call: new / recorded[call] for call, new in counted.items()}
    grown = [call for call, ratio in ratios.items() if ratio > 1 + TOLERANCE]
    fallen = [call for call, ratio in ratios.items() if ratio < 1 - TOLERANCE]

    def listed(calls: list[str]) -> str:
        return "\n".join(counts.change(call, recorded[call], counted[call]) for call in calls)

    if fallen:
        warnings.warn(f"{isa}: record the counts anew, for these have fallen\n{listed(fallen)}", stacklevel=1)
    assert not grown, f"{isa}: these counts have grown\n{listed(grown)}"
