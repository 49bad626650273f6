# What the scripts beside this file share; each sources it from the top of the repository. Whatever is started with
# "start" ends with the script. Where the script fails, its directory with all logs is kept.
# shellcheck shell=bash

work=$(mktemp -d)
declare -A pid

say() { printf '%s  %s\n' "$(date +%T)" "$*"; }

fail() {
  say "FAILED: $*" >&2
  exit 1
}

# start <name> <command…> runs a program in the background; what it says goes on in <name>.log.
start() {
  local name=$1
  shift
  "$@" >>"$work/$name.log" 2>&1 &
  pid[$name]=$!
}

# stop <signal> <name> returns when the program has ended, and what it has started itself. It may have ended before.
stop() {
  local children
  children=$(pgrep -P "${pid[$2]}") || true
  # shellcheck disable=SC2086 # several
  kill "-$1" "${pid[$2]}" $children 2>/dev/null || true
  wait "${pid[$2]}" 2>/dev/null || true
  unset "pid[$2]"
}

# eventually <seconds> <what> <command…> waits until the command succeeds.
eventually() {
  local until=$((SECONDS + $1)) what=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < until)) || fail "not in time: $what"
    sleep 0.5
  done
}

# clean is run last; a script that makes more than processes and files defines clean_more.
clean() {
  local code=$?
  trap - EXIT
  for name in "${!pid[@]}"; do stop KILL "$name"; done
  if declare -F clean_more >/dev/null; then clean_more || true; fi
  if ((code)); then
    say "kept for a look: $work" >&2
  else
    rm -rf "$work"
  fi
  exit "$code"
}
trap clean EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
