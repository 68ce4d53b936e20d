"""Test support: the C ABI through ctypes, references, error measures, memory with guards, strategies.

A problem (problem.py) is one call with its data. Methods (methods.py) describe every function of the header;
all else, from the drawing of problems to the placing of buffers, follows from the prototypes in the header.
"""
