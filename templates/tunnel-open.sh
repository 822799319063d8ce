# Makes the private place for tunnels and takes it over from whoever had it. Read by fleet/tunnel/place.rs.
#
# stdin: the marker, one line of code that sets d (the directory), s (the socket) and f (the file beside it).
# Answers `ok` and on the next line the directory; or a word and what it is about.
IFS= read -r c || exit 1;
eval "$c";
say() { echo "$_m $*"; };
fail() { say "$@"; exit 1; };
umask 077;
if [ -h "$d" ]; then fail symlink "$d"; fi;
[ -d "$d" ] || mkdir -p "$d" || fail mkdir "$d";
cd "$d" || fail enter "$d";
u=$(id -u);
# Type and rights, and the owner as a number.
look() { set -- $(ls -ldn "$1"); echo "$1 $3"; };
mine() { case $(look "$1") in "$2"*" $u") ;; *) false;; esac; };
case $(look .) in *" $u") ;; *) fail owner "$d";; esac;
# A directory may have got its group from above, which does no harm.
mine . drwx------ || { chmod 700 . && { mine . drwx------ || mine . drwx--S---; }; } || fail mode "$d";
for n in "$s" "$f"; do if [ -h "$n" ]; then fail symlink "$d/$n"; fi; done;
if [ -e "$s" ]; then
[ -S "$s" ] || fail nosocket "$d/$s";
rm -f "$s" || fail remove "$d/$s";
fi;
if [ -e "$f" ]; then
[ -f "$f" ] || fail nofile "$d/$f";
rm -f "$f" || fail remove "$d/$f";
fi;
say ok;
pwd -P
