# Tells what a deploy must know of a host, and writes nothing. Read by fleet/deploy/observe.rs.
#
# stdin: the marker, one line of code that makes the programs to look at the arguments, w (1: the whole
# look, else only our files) and s (1: also the files of the host daemon). Answers the framed word `observed`, then one
# fact a line; a file of ours is a line with its length, then the file itself.
IFS= read -r c || exit 1;
w=; s=;
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
l=".picoclaw/.env .picoclaw/config.json .picoclaw/.security.yml";
if [ "$s" = 1 ]; then
echo "home $HOME";
l="$l .config/skyclaw/host.env .config/systemd/user/skyclaw-host.service .local/state/skyclaw/service/keeper.sh";
fi;
for f in $l; do
p=$HOME/$f;
if [ -f "$p" ]; then
n=$(wc -c <"$p") || n=-1;
n=$((n));
set -- $(ls -ld "$p");
if [ "$n" -lt 0 ]; then echo "file unreadable";
elif [ "$n" -gt 262144 ]; then echo "file large";
else echo "file $n $1"; cat "$p"; echo; fi;
elif [ -e "$p" ]; then echo "file other";
else echo "file none"; fi;
done;
echo end
