# Keeps the host daemon running where no systemd does. Put on a host as ~/.local/state/skyclaw/service/keeper.sh and
# started there by templates/service.sh, and by launchd or cron. Read by fleet/service/texts.rs.
#
# A daemon that ends is started again after 5 s, unless there is a file `stop`. What it says goes to `log`; that and the
# piece before it are kept, a few megabytes each. `pid` is this process, `daemon` the daemon.
d=$HOME/.local/state/skyclaw/service;
k=$d/keeper.sh;
b=$HOME/.local/bin;
e=$HOME/.config/skyclaw/host.env;
u=$(umask);
umask 077;
# The daemon itself, with its settings in the environment: its lines are plain NAME=value.
if [ "$1" = run ]; then
echo $$ >"$d/daemon";
case :$PATH: in *":$b:"*) ;; *) PATH=$b:${PATH:-/usr/local/bin:/usr/bin:/bin}; export PATH;; esac;
if [ -r "$e" ]; then
while IFS= read -r l || [ -n "$l" ]; do
case $l in [A-Za-z_]*=*) (export "$l") 2>/dev/null && export "$l";; esac;
done <"$e";
fi;
umask "$2";
cd "$HOME" && exec "$b/skyclaw" host;
exit 1;
fi;
# Its lines. A piece is 2000 reads, which dd counts; the size, because a daemon that ends at once begins anew each time.
if [ "$1" = log ]; then
trap "" HUP INT TERM;
while :; do
if [ -f "$d/log" ] && [ "$(wc -c <"$d/log")" -gt 4000000 ]; then mv -f "$d/log" "$d/log.1" || break; fi;
x=$(LC_ALL=C dd bs=4096 count=2000 2>&1 >>"$d/log") || break;
x=${x%% *};
[ "$((${x%+*}+${x#*+}))" -ge 2000 ] || exit 0;
mv -f "$d/log" "$d/log.1" || break;
done;
exec cat >/dev/null;
fi;
p=$(cat "$d/pid" 2>/dev/null);
if [ -n "$p" ] && kill -0 "$p" 2>/dev/null; then
[ -d /proc/self ] || exit 0;
grep -q skyclaw/service/keeper "/proc/$p/cmdline" 2>/dev/null && exit 0;
fi;
echo $$ >"$d/pid";
mine() { [ "$(cat "$d/pid" 2>/dev/null)" = $$ ]; };
while mine; do
sh "$k" run "$u" 2>&1 </dev/null | sh "$k" log;
rm -f "$d/daemon";
[ -e "$d/stop" ] && break;
echo "$(date) the daemon has ended and is started again in 5 s" >>"$d/log";
sleep 5;
done;
mine && rm -f "$d/pid";
# launchd starts what fails again.
exit 0
