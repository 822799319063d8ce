# Writes small private files into one directory, all of them or none. Part of desk.sh; fleet/deploy/write.rs reads the answer.
#
# files wants d (the directory) and NAME TEXT ... as arguments. It answers `ok`, or a word and the name it is about. Nothing is renamed
# before all is on disk.
stage() {
while [ $# -gt 0 ]; do printf %s "$2" >"$d/.skyclaw-upload.$$.$1" || { say write "$1"; return 1; }; shift 2; done;
};
files() {
# A printf that is a program would show the texts to everyone who lists processes.
case $(command -v printf) in printf) ;; *) say noprintf; return 0;; esac;
[ -d "$d" ] || mkdir -p "$d" || { say mkdir; return 1; };
stage "$@" || { rm -f "$d/.skyclaw-upload.$$".*; return 1; };
sync "$d/.skyclaw-upload.$$".* 2>/dev/null || sync;
while [ $# -gt 0 ]; do
mv -f "$d/.skyclaw-upload.$$.$1" "$d/$1" || { say rename "$1"; rm -f "$d/.skyclaw-upload.$$".*; return 1; };
shift 2;
done;
say ok;
};
