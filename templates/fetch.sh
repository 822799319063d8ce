# Downloads a program and puts it in place whole or not at all. Read by fleet/deploy/fetch.rs.
#
# Runs as a task, so everything comes in the environment: GET_URL, GET_SHA256 (of what is there), GET_PATH (below
# the home), GET_ARCHIVE (1: a .tar.gz with picoclaw inside), GET_PREV (where the former one goes, if anywhere),
# GET_AGAIN (1: also where the same program stands already), GET_MOST (bytes). Says one line: `ok` (it is in
# place), `same` (it was there), or a word and the reason; then the old program is untouched.
say() { echo "fetch $*"; exit 0; };
p=$HOME/$GET_PATH;
d=${p%/*};
umask 077;
[ -d "$d" ] || mkdir -p "$d" || say mkdir "$d";
t=$d/.skyclaw-upload.$$;
gone() { rm -f "$t" "$t.p"; };
trap gone EXIT;
trap "exit 1" HUP INT PIPE TERM;
if command -v sha256sum >/dev/null; then h() { sha256sum <"$1"; };
elif command -v shasum >/dev/null; then h() { shasum -a 256 <"$1"; };
elif command -v openssl >/dev/null; then h() { openssl dgst -sha256 -r <"$1"; };
else say nodigest; fi;
# From https never to an open connection, as the controller does it.
case $GET_URL in https:*) s="--proto-redir =https";; *) s=;; esac;
if command -v curl >/dev/null; then
curl -fsSL --connect-timeout 20 --speed-limit 1 --speed-time 60 --max-filesize "$GET_MOST" $s -o "$t" --url "$GET_URL" || say failed curl $?;
elif command -v wget >/dev/null; then
wget -q -T 60 -O "$t" "$GET_URL" || say failed wget $?;
else say nothing; fi;
x=$(h "$t");
x=${x%% *};
[ "$x" = "$GET_SHA256" ] || say digest "$x";
n=$t;
if [ "$GET_ARCHIVE" = 1 ]; then
command -v tar >/dev/null || say notar;
set -f;
set -- $(tar -tzf "$t" | grep -E "(^|/)picoclaw$");
[ $# = 1 ] || say member;
n=$t.p;
tar -xzOf "$t" "$1" >"$n" || say unpack;
x=$(h "$n");
x=${x%% *};
fi;
[ -s "$n" ] || say member;
k=$GET_PREV;
if [ -f "$p" ]; then
o=$(h "$p");
if [ "${o%% *}" = "$x" ]; then
[ "$GET_AGAIN" = 1 ] || say same;
k=;
fi;
fi;
chmod 755 "$n" || say chmod;
sync "$n" 2>/dev/null || sync;
if [ -n "$k" ] && [ -f "$p" ]; then ln -f "$p" "$HOME/$k" || cp -p "$p" "$HOME/$k" || say keep; fi;
mv -f "$n" "$p" || say rename;
say ok
