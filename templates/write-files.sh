# Writes small private files into one directory, all of them or none. Read by fleet/deploy/write.rs.
#
# stdin: the marker, one line of code that sets d (the directory) and makes NAME TEXT ... the
# arguments. Answers `ok`, or a word and the name it is about. Nothing is renamed before all is on disk.
IFS= read -r c || exit 1;
eval "$c";
say() { echo "$_m $*"; };
# A printf that is a program would show the texts to everyone who lists processes.
case $(command -v printf) in printf) ;; *) say noprintf; exit 1;; esac;
umask 077;
[ -d "$d" ] || mkdir -p "$d" || { say mkdir; exit 1; };
cd "$d" || { say enter; exit 1; };
t=.skyclaw-upload.$$;
gone() { rm -f "$t".*; };
trap gone EXIT;
trap "exit 1" HUP INT PIPE TERM;
stage() {
while [ $# -gt 0 ]; do printf %s "$2" >"$t.$1" || { say write "$1"; exit 1; }; shift 2; done;
};
stage "$@";
sync "$t".* 2>/dev/null || sync;
while [ $# -gt 0 ]; do mv -f "$t.$1" "$1" || { say rename "$1"; exit 1; }; shift 2; done;
trap - EXIT;
say ok
