# What people do with the AWS command line, against the endpoint in the environment.
set -eu
cd "$1"
export AWS_PAGER=
fail() { echo "failed: $*" >&2; exit 1; }

aws s3 mb s3://cli
mkdir -p tree/sub
echo one > tree/one.txt
echo two > "tree/sub/two words.txt"
head -c 12000000 /dev/urandom > tree/large.bin
aws s3 sync tree s3://cli/tree --no-progress
aws s3 ls --recursive s3://cli/ | grep -q 'tree/sub/two words.txt' || fail ls
aws s3 ls s3://cli/tree/ | grep -q 'PRE sub/' || fail prefix
[ -z "$(aws s3 sync tree s3://cli/tree --no-progress)" ] || fail "sync copied again"
aws s3 cp s3://cli/tree back --recursive --no-progress > /dev/null
diff -r tree back || fail "the tree came back different"
aws s3 cp s3://cli/tree/large.bin s3://cli/large-copy.bin --no-progress > /dev/null
aws s3 cp s3://cli/large-copy.bin - | cmp - tree/large.bin || fail "copy"
echo stream | aws s3 cp - s3://cli/stream
aws s3 mv s3://cli/stream s3://cli/moved --no-progress > /dev/null
[ "$(aws s3 cp s3://cli/moved -)" = stream ] || fail mv
python3 -c 'import sys,urllib.request; assert urllib.request.urlopen(sys.argv[1]).read() == b"stream\n"' "$(aws s3 presign s3://cli/moved)" || fail presign
aws s3api head-object --bucket cli --key moved --query ContentLength --output text | grep -qx 7 || fail head-object
rm tree/one.txt
aws s3 sync tree s3://cli/tree --delete --no-progress | grep -q 'delete: s3://cli/tree/one.txt' || fail "sync --delete"
aws s3 rm s3://cli/moved > /dev/null
if aws s3 rb s3://cli 2> error; then fail "rb of a full bucket"; fi
grep -q BucketNotEmpty error || fail "$(cat error)"
aws s3 rb --force s3://cli > /dev/null
[ -z "$(aws s3 ls)" ] || fail "something is left"
if aws s3 ls s3://cli 2> error; then fail "ls of no bucket"; fi
grep -q NoSuchBucket error || fail "$(cat error)"
echo all held
