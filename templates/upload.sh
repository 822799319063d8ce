# Takes a file on stdin and puts it in place whole or not at all. Read by ssh/upload.rs.
#
# stdin: the marker, one line of code that sets p (path), o (mode), b (bytes), h (SHA-256), then the file.
# Answers one framed line: `ok`, or a word and the reason. A cut transfer leaves the old file untouched.
# Every program that is started costs the host about a millisecond, so none is that is not needed.
IFS= read -r c || exit 1;
eval "$c";
say() { echo "$_m $*"; };
d=${p%/*};
umask 077;
[ -d "$d" ] || mkdir -p "$d" || { say mkdir "$d"; exit 1; };
t=$d/.skyclaw-upload.$$;
gone() { rm -f "$t"; };
trap gone EXIT;
# PIPE too: when the controller is gone, our answer has no reader, and the file must go all the same.
trap "exit 1" HUP INT PIPE TERM;
cat >"$t" || { say write "$t"; exit 1; };
# openssl is twice as fast as sha256sum, and slower to start.
if [ "$b" -gt 1000000 ] && x=$(openssl dgst -sha256 -r "$t" 2>/dev/null); then :;
elif command -v sha256sum >/dev/null; then x=$(sha256sum "$t");
elif command -v shasum >/dev/null; then x=$(shasum -a 256 "$t");
elif x=$(openssl dgst -sha256 -r "$t" 2>/dev/null); then :;
else say nodigest "no sha256sum, shasum or openssl"; exit 1; fi;
x=${x%% *};
if [ "$x" = "$h" ]; then :; else
s=$(wc -c <"$t");
if [ "$((s))" = "$b" ]; then say digest "$x"; else say short "$((s)) of $b bytes"; fi;
exit 1;
fi;
chmod "$o" "$t" || { say chmod "$o"; exit 1; };
sync "$t" 2>/dev/null || sync;
if [ -n "$k" ] && [ -f "$p" ]; then ln -f "$p" "$k" || cp -p "$p" "$k" || { say keep "$k"; exit 1; }; fi;
mv -f "$t" "$p" || { say rename "$p"; exit 1; };
trap - EXIT;
case $p in /*) ;; *) p=$PWD/$p;; esac;
say ok "$p";
