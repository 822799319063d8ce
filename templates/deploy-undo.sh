# Takes back something that a deploy put on a host. Read by fleet/deploy/apply.rs.
#
# stdin: the marker, one line of code that sets p (what to take back) and k (its predecessor, empty if it had none).
# Answers `ok`, or `failed` and the reason.
IFS= read -r c || exit 1;
eval "$c";
if [ -n "$k" ]; then x=$(mv -f "$k" "$p" 2>&1); else x=$(rm -rf "$p" 2>&1); fi || { echo "$_m failed $x"; exit 1; };
echo "$_m ok"
