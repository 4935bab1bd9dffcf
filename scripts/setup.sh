#!/usr/bin/env bash
# Gives a Debian machine what a make target needs beyond Go: looks for each
# tool first, then installs only the packages of those that are missing.
#
# usage: scripts/setup.sh build|test|bench
#
# As root the packages are installed with apt-get. Otherwise they are named and
# the script fails, so that nothing later fails for an unclear reason.
set -euo pipefail

missing=()

# need PACKAGE COMMAND...: PACKAGE is missing unless COMMAND succeeds.
need() {
	local package=$1
	shift
	"$@" >/dev/null 2>&1 || missing+=("$package")
}

have() { command -v "$1"; }

have_boto3() {
	local python
	for python in python3 /usr/bin/python3; do
		"$python" -c 'import boto3' && return
	done
	return 1
}

have_grpcio() {
	local python
	for python in python3 /usr/bin/python3; do
		"$python" -c 'import grpc, google.protobuf' && return
	done
	return 1
}

have_postgres() { compgen -G '/usr/lib/postgresql/*/bin/initdb' || have initdb; }

# Debian keeps these in /usr/sbin, which a person's PATH may lack.
have_server() { have "$1" || test -x "/usr/sbin/$1"; }

for_build() {
	need gcc have gcc
	need libc6-dev test -e /usr/include/stdlib.h
	need npm have npm # carries the ONNX Runtime library
	need nodejs have node
}

for_test() {
	for_build
	need git have git
	need curl have curl
	need python3-boto3 have_boto3
	need awscli have aws
	need postgresql have_postgres
	# What applications on a device may be written with.
	need python3-grpcio have_grpcio
	need protobuf-compiler have protoc
	need protobuf-compiler-grpc have grpc_python_plugin
}

for_bench() {
	for_test
	need nginx have_server nginx
	need haproxy have_server haproxy
	need wrk have wrk
}

case "${1:-}" in
build | test | bench) "for_$1" ;;
*)
	echo "usage: $0 build|test|bench" >&2
	exit 2
	;;
esac

if ! have go >/dev/null; then
	echo "setup: Go is not installed; Slipway needs Go 1.26 or newer" >&2
	exit 1
fi
if [ ${#missing[@]} -eq 0 ]; then
	exit 0
fi
if ! have apt-get >/dev/null || [ "$(id -u)" != 0 ]; then
	echo "setup: these Debian packages are missing: ${missing[*]}" >&2
	echo "setup: install them as root: apt-get update && apt-get install ${missing[*]}" >&2
	exit 1
fi

echo "setup: installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
# RUNLEVEL=1 keeps Debian from starting the servers it installs: Slipway's
# tests and benchmarks start private ones.
export RUNLEVEL=1
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! { apt-get update && apt-get install --yes --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
	cat "$log" >&2
	echo "setup: could not install ${missing[*]}" >&2
	exit 1
fi
