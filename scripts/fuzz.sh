#!/usr/bin/env bash
# Runs every fuzz target of the repository, one after the other, for the given
# time each. Failing inputs land in the package's testdata/fuzz: commit them.
#
# usage: scripts/fuzz.sh 30s
set -euo pipefail
cd "$(dirname "$0")/.."

duration=${1:-30s}
failed=0
while IFS=: read -r file target; do
	package=./$(dirname "$file")
	echo "fuzz: $package $target for $duration"
	go test -run '^$' -fuzz "^$target\$" -fuzztime "$duration" "$package" || failed=1
done < <(git grep --untracked -o -E '^func Fuzz[A-Za-z0-9_]+' -- '*_test.go' | sed 's/func //')
exit $failed
