# Tells what a deploy must know of a host, and writes nothing. Part of desk.sh; fleet/deploy/observe.rs reads the answer.
#
# look wants the programs as arguments, w (1: the whole look, 2: what others may have changed since, else only our files) and s (1: also
# the files of the host daemon). It answers the framed word `observed`, one fact a line, and the framed word `end`; a file of ours is a
# line with its length, then the file itself.
file() {
if [ -f "$1" ]; then
y=$1;
n=$(wc -c <"$y") || n=-1;
n=$((n));
set -- $(ls -ld "$y");
if [ "$n" -lt 0 ]; then echo "file unreadable";
elif [ "$n" -gt 262144 ]; then echo "file large";
else echo "file $n $1"; cat "$y"; echo; fi;
elif [ -e "$1" ]; then echo "file other";
else echo "file none"; fi;
};
look() {
echo "$_m observed";
[ "$w" = 1 ] && echo "uname $(uname -sm)";
if [ -n "$w" ]; then
for y in "$@"; do
if [ -f "$y" ]; then sum "$y" 1000001 || x=unknown; echo "program $x";
elif [ -e "$y" ]; then echo "program other";
else echo "program none"; fi;
done;
fi;
if [ "$w" = 1 ]; then
d=$HOME/.local/bin;
until [ -z "$d" ] || [ -d "$d" ]; do d=${d%/*}; done;
x=$(df -Pk "${d:-/}" 2>/dev/null);
set -- ${x#*"$_n"};
echo "disk $4";
fi;
if [ -n "$w" ]; then
if [ -d "$HOME/.local/state/skyclaw/ephemeral" ]; then echo "ephemeral yes"; else echo "ephemeral no"; fi;
fi;
[ "$s" = 1 ] && echo "home $HOME";
for y in .env config.json .security.yml; do file "$HOME/.picoclaw/$y"; done;
if [ "$s" = 1 ]; then
for y in .config/skyclaw/host.env .config/systemd/user/skyclaw-host.service .local/state/skyclaw/service/keeper.sh; do file "$HOME/$y"; done;
fi;
say end;
};
