# Starts the runner, which runs one task after another for this channel. Read by fleet/runner.
#
# stdin, after the marker: a line of Perl that reads the runner itself (templates/runner.pl), which follows. Answers
# `run` and becomes Perl, or answers `noperl`.
IFS= read -r _c || exit 255;
command -v perl >/dev/null || { echo "$_m noperl"; exit 1; };
echo "$_m run $$";
exec perl -e "$_c"
