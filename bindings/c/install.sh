#!/bin/sh
# Installs the library for C and C++ programs, and builds it first where that has not been done.
#
#   bindings/c/install.sh [PREFIX]     /usr/local unless given; DESTDIR is put in front of it, as package builds do
set -eu
prefix=${1:-/usr/local}
case $prefix in /*) ;; *) prefix=$PWD/$prefix ;; esac
cd "$(dirname "$0")/../.."

library=.build/release/libnormkit.so
[ -f "$library" ] || swift build -c release --product normkit --quiet

part() { sed -n "s/^#define NORMKIT_VERSION_$1 //p" include/normkit.h; }
series=$(part MAJOR).$(part MINOR)
version=$series.$(part PATCH)
soname=libnormkit.so.$(part MAJOR)

root=${DESTDIR:-}$prefix
package=$root/lib/cmake/NormKit
install -d "$root/include" "$root/lib/pkgconfig" "$package"
install -m 644 include/normkit.h "$root/include/"
install -m 755 "$library" "$root/lib/libnormkit.so.$version"
ln -sf "libnormkit.so.$version" "$root/lib/$soname"
ln -sf "$soname" "$root/lib/libnormkit.so"

fill() {
    sed "s/@VERSION@/$version/g; s/@SERIES@/$series/g; s/@SOVERSION@/${soname##*.}/g" "bindings/c/$1.in" > "$2/$1"
}
fill normkit.pc "$root/lib/pkgconfig"
fill NormKitConfig.cmake "$package"
fill NormKitConfigVersion.cmake "$package"
echo "installed NormKit $version in $root"
