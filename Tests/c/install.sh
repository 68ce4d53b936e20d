#!/bin/bash
# Installs into a new folder and builds the example from there alone, by pkg-config and by CMake.
#
#   Tests/c/install.sh DIRECTORY
set -euo pipefail
source=$(cd "$(dirname "$0")/../.." && pwd)
mkdir -p "$1" && cd "$1"

"$source/bindings/c/install.sh" "$PWD/usr"
cp "$source"/bindings/c/{example,train,engine}.c .

PKG_CONFIG_PATH=$PWD/usr/lib/pkgconfig pkg-config --exact-version="$(sed -n 's/^set(PACKAGE_VERSION "\(.*\)")/\1/p' \
    usr/lib/cmake/NormKit/NormKitConfigVersion.cmake)" normkit
by_pkg_config() {
    # shellcheck disable=SC2046 # several words are wanted
    gcc -std=c99 -pedantic -Wall -Wextra -Werror "$1.c" -o "$1" \
        $(PKG_CONFIG_PATH=$PWD/usr/lib/pkgconfig pkg-config --cflags --libs normkit) -pthread -lm
    LD_LIBRARY_PATH=$PWD/usr/lib "./$1"
}
by_pkg_config example > by_pkg_config.txt
# These exit with 1 if they have not found what they look for.
by_pkg_config train
by_pkg_config engine

mkdir -p project
cat > project/CMakeLists.txt << 'END'
cmake_minimum_required(VERSION 3.18)
project(example C)
find_package(NormKit 0.1 REQUIRED)
add_executable(example ../example.c)
target_link_libraries(example PRIVATE NormKit::normkit m)
END
cmake -S project -B build -DCMAKE_PREFIX_PATH="$PWD/usr" > /dev/null
cmake --build build > /dev/null
build/example > by_cmake.txt
cmp by_pkg_config.txt by_cmake.txt
grep -q "row 0 .* -1.3416  -0.4472   0.8944   2.6833" by_cmake.txt

# A package that asks for another version must not get this one.
sed -i 's/NormKit 0.1/NormKit 9.0/' project/CMakeLists.txt
if cmake -S project -B build_other -DCMAKE_PREFIX_PATH="$PWD/usr" > /dev/null 2>&1; then
    echo "CMake accepted version 9.0" >&2
    exit 1
fi

# A captured batch normalization: right, and then one element wrong.
python3 - << 'END'
import struct
header = struct.pack("<qqqf", 1, 2, 2, 0)
x, gamma, beta, mean, variance = (1, 3, 2, 8), (1, 2), (0, 1), (1, 2), (4, 9)
for name, y in ("right", (0, 1, 1, 5)), ("wrong", (0, 1, 1, 5.001)):
    numbers = x + gamma + beta + mean + variance + y
    open(name, "wb").write(header + struct.pack(f"<{len(numbers)}f", *numbers))
END
build/example right
if build/example wrong > /dev/null; then echo "the wrong capture was accepted" >&2; exit 1; fi

DESTDIR=$PWD/package "$source/bindings/c/install.sh" /usr > /dev/null
diff -r usr package/usr
echo "installed, and built by pkg-config and by CMake"
