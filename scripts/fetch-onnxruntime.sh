#!/bin/sh
# Puts the ONNX Runtime library that slipway-onnx loads into bin/lib (or the
# directory given as $1). The library comes from the npm package
# onnxruntime-node (MIT licence): the package is unpacked and none of its code
# is run. Safe to repeat: a library with the pinned digest is left alone.
#
#   scripts/fetch-onnxruntime.sh [DIR]        ARCH=x64|arm64 overrides the machine's
set -eu

version=1.30.0
x64=ffb75a925ba05e47b235bb66e3e3911714a80b328a9c9425539feb204aa32a23
arm64=1f549d46250b005580b597f4164984aaf75b3bcb9f3aeb07c7f8a8fe60b23c76

root=$(cd "$(dirname "$0")/.." && pwd)
dir=${1:-$root/bin/lib}
lib=libonnxruntime.so.1

say() { echo "fetch-onnxruntime: $*" >&2; }

case ${ARCH:-$(uname -m)} in
x64 | x86_64 | amd64) arch=x64 want=$x64 ;;
arm64 | aarch64) arch=arm64 want=$arm64 ;;
*)
	say "no ONNX Runtime is packaged for $(uname -m); set SLIPWAY_ONNXRUNTIME to a library of your own"
	exit 1
	;;
esac

matches() { [ -f "$1" ] && echo "$want  $1" | sha256sum -c --status -; }

if matches "$dir/$lib"; then exit 0; fi

if ! command -v npm >/dev/null 2>&1; then
	say "npm is missing; install the package npm and run this again"
	exit 1
fi

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' INT TERM
say "fetching onnxruntime-node $version (110 MB)"
(cd "$tmp" && npm pack --silent --ignore-scripts "onnxruntime-node@$version" >/dev/null 2>npm.log) || {
	cat "$tmp/npm.log" >&2
	say "npm could not fetch onnxruntime-node $version"
	exit 1
}
member=package/bin/napi-v6/linux/$arch/$lib
tar -xzf "$tmp"/onnxruntime-node-*.tgz -C "$tmp" "$member"
if ! matches "$tmp/$member"; then
	say "the library of onnxruntime-node $version does not have the pinned digest $want"
	exit 1
fi
mkdir -p "$dir"
chmod 0644 "$tmp/$member"
# Rename within the directory, so that a reader sees the old file or the new one.
cp "$tmp/$member" "$dir/.$lib.$$"
mv -f "$dir/.$lib.$$" "$dir/$lib"
say "wrote $dir/$lib"
