"""Where the Python package is, in a source checkout; and Hypothesis profiles: "ci" is fixed and quick, "thorough"
(NORMKIT_TEST_PROFILE=thorough) random and long."""

import os
import sys
from pathlib import Path

from hypothesis import HealthCheck, settings

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bindings" / "python"))

_COMMON = {"deadline": None, "suppress_health_check": list(HealthCheck)}
settings.register_profile("ci", max_examples=60, derandomize=True, database=None, **_COMMON)
settings.register_profile("thorough", max_examples=3000, **_COMMON)
settings.load_profile(os.environ.get("NORMKIT_TEST_PROFILE", "ci"))
