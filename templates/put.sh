# Takes a file from stdin and puts it in place whole or not at all. Part of upload.sh and desk.sh.
#
# put wants p (path), o (mode), b (bytes), h (SHA-256) and k (what to keep the old file as, or nothing). It answers one framed
# line: `ok` and the path, or a word and the reason. Then the old file is untouched, and stdin may stand within the new one.
# Every program that is started costs the host about a millisecond, so none is that is not needed.
say() { echo "$_m $*"; };
t=;
gone() { [ -z "$t" ] || rm -f "$t"; t=; };
# Copies b bytes to t, which are on disk when it returns. A dd that cannot do that says so before it has read or made anything.
take() {
if y=$(dd bs=131072 count="$b" iflag=count_bytes,fullblock conv=fsync status=none of="$t" 2>&1); then return 0; fi;
if [ -e "$t" ]; then echo "$y" >&2; return 1; fi;
head -c "$b" >"$t" || return 1;
sync "$t" 2>/dev/null || sync;
};
# Sets x to the SHA-256 of a file of about so many bytes. openssl is twice as fast as sha256sum, and slower to start.
sum() {
if [ "$2" -gt 1000000 ] && x=$(openssl dgst -sha256 -r <"$1" 2>/dev/null); then :;
elif command -v sha256sum >/dev/null; then x=$(sha256sum <"$1");
elif command -v shasum >/dev/null; then x=$(shasum -a 256 <"$1");
elif x=$(openssl dgst -sha256 -r <"$1" 2>/dev/null); then :;
else return 1; fi;
x=${x%% *};
};
put() {
d=${p%/*};
[ -d "$d" ] || mkdir -p "$d" || { say mkdir "$d"; return 1; };
t=$d/.skyclaw-upload.$$;
[ -e "$t" ] && rm -f "$t";
take || { say write "$t"; return 1; };
sum "$t" "$b" || { say nodigest "no sha256sum, shasum or openssl"; return 1; };
if [ "$x" = "$h" ]; then :; else
y=$(wc -c <"$t");
if [ "$((y))" = "$b" ]; then say digest "$x"; else say short "$((y)) of $b bytes"; fi;
return 1;
fi;
chmod "$o" "$t" || { say chmod "$o"; return 1; };
if [ -n "$k" ] && [ -f "$p" ]; then ln -f "$p" "$k" || cp -p "$p" "$k" || { say keep "$k"; return 1; }; fi;
mv -f "$t" "$p" || { say rename "$p"; return 1; };
t=;
case $p in /*) ;; *) p=$PWD/$p;; esac;
say ok "$p";
};
