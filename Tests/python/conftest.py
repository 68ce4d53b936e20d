"""Hypothesis profiles: "ci" is fixed and quick, "thorough" (NORMKIT_TEST_PROFILE=thorough) random and long."""

import os

from hypothesis import HealthCheck, settings

_COMMON = {"deadline": None, "suppress_health_check": list(HealthCheck)}
settings.register_profile("ci", max_examples=60, derandomize=True, database=None, **_COMMON)
settings.register_profile("thorough", max_examples=3000, **_COMMON)
settings.load_profile(os.environ.get("NORMKIT_TEST_PROFILE", "ci"))
