# Tells what a deploy must know of a host, and writes nothing. Read by fleet/deploy/observe.rs.
#
# stdin: the marker, one line of code that makes the programs to look at the arguments, and w (1: the whole
# look, else only our files). Answers the framed word `observed`, then one fact a line; a file of ours is a
# line with its length, then the file itself.
IFS= read -r c || exit 1;
w=;
eval "$c";
if command -v sha256sum >/dev/null; then h() { sha256sum; };
elif command -v shasum >/dev/null; then h() { shasum -a 256; };
elif command -v openssl >/dev/null; then h() { openssl dgst -sha256 -r; };
else h() { echo unknown; }; fi;
echo "$_m observed";
if [ "$w" = 1 ]; then
echo "uname $(uname -sm)";
for p in "$@"; do
if [ -f "$p" ]; then x=$(h <"$p"); echo "program ${x%% *}";
elif [ -e "$p" ]; then echo "program other";
else echo "program none"; fi;
done;
d=$HOME/.local/bin;
until [ -z "$d" ] || [ -d "$d" ]; do d=${d%/*}; done;
echo "disk $(df -Pk "${d:-/}" 2>/dev/null | { read -r x; read -r x x x x y; echo "$x"; })";
if [ -d "$HOME/.local/state/skyclaw/ephemeral" ]; then echo "ephemeral yes"; else echo "ephemeral no"; fi;
fi;
for f in .env config.json .security.yml; do
p=$HOME/.picoclaw/$f;
if [ -f "$p" ]; then
s=$(wc -c <"$p") || s=-1;
s=$((s));
set -- $(ls -ld "$p");
if [ "$s" -lt 0 ]; then echo "file unreadable";
elif [ "$s" -gt 262144 ]; then echo "file large";
else echo "file $s $1"; cat "$p"; echo; fi;
elif [ -e "$p" ]; then echo "file other";
else echo "file none"; fi;
done;
echo end
