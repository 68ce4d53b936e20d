"""``python -m normkit``: which library is in use, and how."""

import normkit

print(f"version          {normkit.version()}")
print(f"library          {normkit.library_path()}")
print(f"instruction set  {normkit.instruction_set()}")
print(f"threads          {normkit.get_num_threads()}")
