#!/bin/sh
# A sample agent: it takes the same commands as PicoClaw and prints answers in the same form, but
# asks no model. Deploy it with `skyclaw fleet deploy --from` to try a fleet without keys or network.
#
# In a task, the words `sleep N` make it work for N seconds, and the word `fail` makes it fail.

mark='🦞'
home=${PICOCLAW_HOME:-$HOME/.picoclaw}
config=${PICOCLAW_CONFIG:-$home/config.json}

usage() {
    printf '%s\n' 'usage: picoclaw agent -m TEXT [-s KEY] | onboard | status | version' >&2
    exit 1
}

logo() {
    printf '%s\n' '█▀█ █ █▀▀ █▀█ █▀▀ █   █▀█ █ █' '█▀▀ █ █▄▄ █▄█ █▄▄ █▄▄ █▀█ ▀▄▀' ''
}

onboard() {
    if [ -e "$config" ]; then
        printf '%s\n' "$mark picoclaw keeps the configuration in $config"
        return
    fi
    (
        umask 077
        mkdir -p "$home" || exit 1
        printf '%s\n' '{"version": 3, "agents": {"defaults": {}}, "model_list": []}' >"$config"
    ) || exit 1
    printf '%s\n' "$mark picoclaw is ready: $config"
}

status() {
    printf '%s\n' "$mark picoclaw status"
    if [ -e "$config" ]; then
        printf 'Config: %s\n' "$config"
    else
        printf 'Config: %s (missing: run picoclaw onboard)\n' "$config"
    fi
    printf 'Model: sample\n'
}

# Prints one line a second, as an agent that takes its time does.
work() {
    second=1
    while [ "$second" -le "$1" ]; do
        sleep 1
        printf 'working: second %s of %s\n' "$second" "$1"
        second=$((second + 1))
    done
}

agent() {
    task= session=cli:default given=
    while [ $# -gt 0 ]; do
        case $1 in
        -m | --message) [ $# -ge 2 ] || usage; task=$2 given=1; shift 2 ;;
        -s | --session) [ $# -ge 2 ] || usage; session=$2; shift 2 ;;
        --model) [ $# -ge 2 ] || usage; shift 2 ;;
        -d | --debug | --no-color) shift ;;
        -h | --help) printf '%s\n' 'Flags: -m, --message TEXT; -s, --session KEY; --model NAME; -d, --debug'; exit 0 ;;
        *) usage ;;
        esac
    done
    # Without a message the task comes on standard input.
    [ -n "$given" ] || task=$(cat)

    logo
    printf '12:00:00 WRN sample agent, no model is asked session=%s\n' "$session"
    # Words of the task are looked at, never expanded.
    set -f
    previous=
    for word in $task; do
        if [ "$previous" = sleep ]; then
            case $word in
            *[!0-9]*) ;;
            *) work "$word" ;;
            esac
        fi
        if [ "$word" = fail ]; then
            printf '%s\n' 'Error: the task asked the sample agent to fail' >&2
            exit 1
        fi
        previous=$word
    done
    printf '\n%s %s\n' "$mark" "done: $task"
}

[ $# -gt 0 ] || usage
command=$1
shift
case $command in
version | v | --version)
    logo
    printf '%s\n' "$mark picoclaw 0.0.1-sample (git: sample)" '  Build: sample' '  Go: none'
    ;;
onboard | o) onboard ;;
status | s) status ;;
agent) agent "$@" ;;
*) usage ;;
esac
