//! Stand-ins for systemd and cron on the PATH of a test host: they record how they are called, and the first of them
//! runs the unit as far as a test needs that. No test may reach the real ones.

use std::fs;
use std::path::Path;

use crate::common::bed::install;

const SYSTEMCTL: &str = r#"#!/bin/sh
echo "systemctl $*" >>"$HOME/calls"
[ "$XDG_RUNTIME_DIR" ] && [ "$1" = --user ] || exit 1
unit=$HOME/.config/systemd/user/$(ls "$HOME/.config/systemd/user" 2>/dev/null | grep service$)
main() { cat "$HOME/main-pid" 2>/dev/null || echo 0; }
alive() { kill -0 "$(main)" 2>/dev/null && [ "$(main)" != 0 ]; }
launch() {
    run=$(sed -n 's/^ExecStart=//p' "$unit" | sed "s|%h|$HOME|g")
    (
        while IFS= read -r line; do
            case $line in [A-Z]*=*) export "$line" ;; esac
        done <"$HOME/.config/skyclaw/host.env"
        exec setsid $run
    ) >>"$HOME/journal" 2>&1 </dev/null &
    echo $! >"$HOME/main-pid"
}
halt() { kill -TERM "$(main)" 2>/dev/null; while alive; do sleep 0.05; done; rm -f "$HOME/main-pid"; }
case $2 in
show-environment) [ -e "$HOME/lingers" ] ;;
start) alive || launch ;;
restart) halt; launch ;;
disable) halt ;;
show) echo "MainPID=$(main)" ;;
kill) kill -TERM "$(main)" ;;
esac
"#;

const LOGINCTL: &str = r#"#!/bin/sh
echo "loginctl $*" >>"$HOME/calls"
case $1 in
show-user) [ -e "$HOME/lingers" ] && echo Linger=yes || echo Linger=no ;;
enable-linger) : >"$HOME/lingers" ;;
disable-linger) rm -f "$HOME/lingers" ;;
esac
"#;

const CRONTAB: &str = r#"#!/bin/sh
case $1 in
-l)
    if [ -e "$HOME/crontab-fails" ]; then echo "crontab: cannot lock" >&2; exit 1; fi
    if [ -e "$HOME/crontab" ]; then cat "$HOME/crontab"; else echo "no crontab for me" >&2; exit 1; fi ;;
-r) rm "$HOME/crontab" ;;
-) cat >"$HOME/crontab" ;;
esac
"#;

const NO: &str = "#!/bin/sh\necho 'Could not enable linger: No such device' >&2\nexit 1\n";

/// Makes `dir` a place with a systemd that keeps users' services.
pub fn with_systemd(dir: &Path) {
    install(dir, "systemctl", SYSTEMCTL);
    install(dir, "loginctl", LOGINCTL);
    install(
        dir,
        "journalctl",
        "#!/bin/sh\ntail -n 20 \"$HOME/journal\"\n",
    );
    install(dir, "crontab", CRONTAB);
}

/// Says that this is macOS where only the system is asked for; our program is for the one that is there.
const UNAME: &str = r#"#!/bin/sh
if [ "$*" = -s ]; then echo Darwin; else PATH=/usr/bin:/bin exec uname "$@"; fi
"#;

/// Nobody is logged in at the desktop. Runs what a property list says, once.
const LAUNCHCTL: &str = r#"#!/bin/sh
echo "launchctl $*" >>"$HOME/calls"
case $1 in
print) case $2 in user/*) ;; *) exit 113 ;; esac ;;
bootstrap)
    [ -e "$HOME/launchd-fails" ] && exit 5
    run=$(sed -n 's|.*<string>\(exec .*\)</string>|\1|p' "$3")
    setsid sh -c "$run" </dev/null >/dev/null 2>&1 &
    ;;
esac
"#;

/// Makes `dir` a place with launchd and cron.
pub fn with_launchd(dir: &Path) {
    install(dir, "uname", UNAME);
    install(dir, "launchctl", LAUNCHCTL);
    install(dir, "crontab", CRONTAB);
}

/// Makes `dir` a place with cron and without a systemd that could be used.
pub fn without_systemd(dir: &Path) {
    for name in ["systemctl", "loginctl", "journalctl"] {
        install(dir, name, NO);
    }
    install(dir, "crontab", CRONTAB);
}

/// Returns the lines of a file that a fake wrote.
pub fn calls(home: &Path) -> String {
    fs::read_to_string(home.join("calls")).unwrap_or_default()
}
