# Runs one task after another for one channel. Sent and read by fleet/runner; templates/runner.sh starts it.
#
# Core builtins and Fcntl only: what is loaded here is copied at each fork. Comments have lines of their own, because
# they are not sent.
#
# stdin: records, each a type byte, a length (32 bits, network order) and its contents.
#   J  a task: fields that each end in NUL (see `begin`)
#   S  TERM or KILL, for the task
# End of file means that nobody is there any more: the task is ended.
# stdout: records of the same form.
#   H  the first one: version of this protocol
#   W  the task: `run GROUP`, `missing PROGRAM`, `nodir DIRECTORY`
#   O, E  its output and error output
#   X  its exit code, or `-` and the name or number of the signal
#   Z  its pipes are closed; the next task may come
#
# Each task has pipes of its own, so nothing that a former task left can write into the output of this one.
use Fcntl;
binmode STDIN; binmode STDOUT;
my $pipe = $SIG{PIPE} || "DEFAULT";
$SIG{PIPE} = "IGNORE";
# Only so that select is interrupted.
$SIG{CHLD} = sub {};
fcntl STDOUT, F_SETFL, O_NONBLOCK | fcntl STDOUT, F_GETFL, 0;
open my $null, "+<", "/dev/null" or exit 255;
my ($in, $out, $stuck, $waits) = ("", "", 0, 0);
# Above this much unread output a task is held back; up to this much waits a moment for what comes with it.
my ($most, $least) = (262144, 16384);
# How long that moment is: that a task has begun may be told with how it ended.
my $soon;
# The task: its process while it has not been reported, the group it leads, its word and grace; whether what it
# leaves is ended; how it ended, once it has; whether it was told to end, and what it is told when it has begun.
my ($pid, $group, $word, $grace, $strict, $status, $told, $early);
# Its output and error output; what its input takes, and what is left of that; what closes when it has begun.
my ($o, $e, $feed, $text, $begun);
# Children that look after what a task has left.
my $sweepers = 0;
record("H", "1");

while (1) {
  flush_out() if $out ne "" && !$stuck && (!$pid || $waits > 8 || length $out > $least);
  my ($r, $w) = ("", "");
  vec($r, 0, 1) = 1;
  vec($w, 1, 1) = 1 if $stuck;
  my $patience;
  if ($pid) {
    vec($r, fileno $begun, 1) = 1 if $begun;
    vec($w, fileno $feed, 1) = 1 if $feed;
    if (length $out < $most) {
      vec($r, fileno $o, 1) = 1 if $o;
      vec($r, fileno $e, 1) = 1 if $e;
    }
    # A task that ends just before select interrupts nothing, so it is looked for now and then.
    $patience = $out ne "" && !$stuck ? $soon : !defined $status && !$o && !$e ? 0.01 : 1;
  }
  my $ready = select $r, $w, undef, $patience;
  if ($ready > 0) {
    if (vec $w, 1, 1) { $stuck = 0; flush_out() }
    feed() if $feed && vec $w, fileno $feed, 1;
    has_begun() if $begun && vec $r, fileno $begun, 1;
    pull(\$o, "O") if $o && vec $r, fileno $o, 1;
    pull(\$e, "E") if $e && vec $r, fileno $e, 1;
    hear() if vec $r, 0, 1;
    $waits++;
  } elsif ($ready == 0 && $out ne "" && !$stuck) {
    flush_out();
  }
  next unless $pid;
  if (!defined $status && waitpid($pid, 1) == $pid) {
    $status = $?;
    has_begun() if $begun;
    undef $feed;
    record("X", $status & 127 ? "-" . name($status & 127) : $status >> 8);
  }
  next if !defined $status || $o || $e;
  tidy() if $strict && !$told;
  $sweepers-- while $sweepers && waitpid(-1, 1) > 0;
  undef $pid;
  record("Z", "");
}

sub record { $out .= pack("aN", $_[0], length $_[1]) . $_[1] }

sub flush_out {
  $waits = 0;
  my $n = syswrite STDOUT, $out;
  if (defined $n) { substr $out, 0, $n, "" }
  # EPIPE; all else passes.
  elsif ($! == 32) { farewell() }
  $stuck = $out ne "";
}

sub pull {
  my ($from, $type) = @_;
  my $n = sysread $$from, my $bytes, 65536;
  if ($n) { record($type, $bytes); $soon = 0.003 }
  elsif (defined $n) { undef $$from }
}

sub feed {
  my $n = syswrite $feed, $text;
  if (defined $n) { substr $text, 0, $n, "" }
  undef $feed if $text eq "" || !defined $n && $! == 32;
}

sub hear {
  my $n = sysread STDIN, $in, 65536, length $in;
  farewell() if defined $n ? !$n : $! != 4;
  while (length $in >= 5) {
    my ($type, $length) = unpack "aN", $in;
    last if length $in < 5 + $length;
    my $body = substr $in, 5, $length;
    substr $in, 0, 5 + $length, "";
    if ($type eq "J" && !$pid) { begin($body) }
    elsif ($type eq "S") { order($body) if $pid }
    else { farewell() }
  }
}

# The fields: word, grace in seconds, whether to end what it leaves, whether its program must be there, directory,
# how many names to unset, these names, how many variables to set, their names and values, the text for its input,
# and the words of the command. Directory and words stand behind `=` or, if they are paths below the home, `~`.
sub begin {
  my @f = split /\0/, $_[0], -1;
  pop @f;
  ($word, $grace, $strict, my $must, my $directory, my $n) = splice @f, 0, 6;
  my @unset = splice @f, 0, $n;
  $n = shift @f;
  my @set = splice @f, 0, 2 * $n;
  $text = shift @f;
  undef $status;
  ($told, $early, $soon) = (0, "", 0.02);
  my ($source, $ow, $ew, $bw);
  my $able = pipe($o, $ow) && pipe($e, $ew) && pipe($begun, $bw) && ($text eq "" || pipe $source, $feed);
  # Some accounts have Perl take every file for UTF-8.
  binmode $_ for grep { $_ } $o, $e, $ow, $ew, $begun, $bw, $feed;
  $pid = $group = $able ? fork : undef;
  if (!defined $pid) {
    record("W", "failed the host cannot start a process: $!");
    record("X", 1);
    record("Z", "");
    $o = $e = $begun = $feed = undef;
    return;
  }
  if ($pid) {
    fcntl $feed, F_SETFL, O_NONBLOCK if $feed;
    return;
  }
  setpgrp 0, 0;
  $SIG{PIPE} = $pipe;
  $SIG{CHLD} = "DEFAULT";
  open STDIN, "<&", $source || $null;
  open STDOUT, ">&", $ow;
  open STDERR, ">&", $ew;
  binmode STDERR;
  delete @ENV{@unset};
  while (@set) { my ($name, $value) = splice @set, 0, 2; $ENV{$name} = $value }
  $ENV{SKYCLAW_TASK} = $word;
  $directory = place($directory);
  chdir $directory or quit($bw, "nodir $directory", 1);
  enter($directory);
  my @argv = map { place($_) } @f;
  my $program = $argv[0];
  quit($bw, "missing $program", 127) if $must && !installed($program);
  exec { $program } @argv;
  # The host's shell says in its own words why not, or knows what to do with a script without a first line.
  exec "/bin/sh", "-c", "exec \"\$@\"", "/bin/sh", @argv;
  syswrite STDERR, "$program: $!\n";
  exit 126;
}

sub place {
  my $path = substr $_[0], 1;
  return ord $_[0] == 126 ? "$ENV{HOME}/$path" : $path;
}

sub quit {
  my ($to, $why, $code) = @_;
  syswrite $to, $why;
  exit $code;
}

# As `cd` leaves its variables.
sub enter {
  my $to = $_[0];
  my $from = delete $ENV{PWD};
  $ENV{OLDPWD} = $from if defined $from;
  $to = "$from/$to" if defined $from && $to !~ /^\//;
  $to =~ s/(.)\/+$/$1/;
  $ENV{PWD} = $to if $to =~ /^\// && $to !~ /\/\.{0,2}(\/|$)/ || $to eq "/";
}

sub installed {
  my $program = $_[0];
  return -f $program && -x _ if $program =~ /\//;
  return grep { -f "$_/$program" && -x _ } map { $_ eq "" ? "." : $_ } split /:/, $ENV{PATH}, -1;
}

sub has_begun {
  sysread $begun, my $why, 8192;
  undef $begun;
  record("W", $why eq "" ? "run $group" : $why);
  order($early) if $early;
}

sub order {
  if ($_[0] eq "KILL") {
    $told = 1;
    sweep();
    kill "KILL", -$group;
    # It may not lead its group yet.
    kill "KILL", $pid if !defined $status;
  } elsif ($begun) {
    $early = $_[0];
  } else {
    $told = 1;
    kill $_[0], -$group;
  }
}

# What the task started and what left its group still carries our word in its environment.
sub ours {
  my @found;
  opendir my $all, "/proc" or return;
  local $/;
  for (readdir $all) {
    next if /[^0-9]/ || !open my $file, "<:raw", "/proc/$_/environ";
    push @found, $_ if index(<$file>, "SKYCLAW_TASK=$word") >= 0;
  }
  return @found;
}

sub sweep { kill "KILL", ours() }

# A child goes on; the channel does not wait for it. Returns whether this is the child.
sub apart {
  my $child = fork;
  return 0 if $child;
  $SIG{$_} = "IGNORE" for "HUP", "INT", "QUIT", "TERM";
  open STDIN, "<&", $null;
  open STDOUT, ">&", $null;
  open STDERR, ">&", $null;
  setpgrp 0, 0;
  return 1;
}

# Ends what a task has left that is over.
sub tidy {
  return kill "KILL", -$group if !ours();
  return $sweepers++ if !apart();
  sleep 2;
  sweep();
  kill "KILL", -$group;
  exit;
}

# Nobody is there any more.
sub farewell {
  exit if !$pid && !$told || !apart();
  undef $o;
  undef $e;
  if ($pid && !defined $status) {
    kill "TERM", -$group if !$told;
    for (1 .. 10 * $grace) {
      last if !kill 0, $group;
      select undef, undef, undef, 0.1;
    }
  } elsif ($told) {
    sleep 1;
  }
  sweep();
  kill "KILL", -$group;
  exit;
}

sub name {
  my $name = ("", "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "", "FPE", "KILL", "", "SEGV", "", "PIPE", "ALRM", "TERM")[$_[0]];
  return $name if $name;
  require Config;
  return (split " ", $Config::Config{sig_name})[$_[0]] || $_[0];
}
