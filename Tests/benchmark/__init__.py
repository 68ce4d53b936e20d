"""The benchmark: NormKit beside the other systems that PyPI has. See README.md."""
