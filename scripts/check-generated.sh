#!/usr/bin/env bash
# Runs go generate and fails if that changed any file: what is committed must
# be what the generators make. Works on a dirty tree, too: it compares the
# files before and after, not with the last commit.
set -euo pipefail
cd "$(dirname "$0")/.."

digest() { git ls-files -z --cached --others --exclude-standard | sort -z | xargs -0 sha256sum 2>/dev/null || true; }

before=$(digest)
go generate ./...
after=$(digest)
if [ "$before" != "$after" ]; then
	echo "generated files are not up to date; run 'go generate ./...' and commit:" >&2
	diff <(echo "$before") <(echo "$after") | awk '/^>/ {print "  " $3}' >&2
	exit 1
fi
