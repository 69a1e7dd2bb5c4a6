#!/bin/sh
# Tells a process once that it is to stop, by default the container's first, and waits until it has: for a preStop hook.
# The signal that follows such a hook then finds nobody; a second one to a run at work would mean "stop at once".
set -eu

process="${1:-1}"
kill -TERM "$process"
while kill -0 "$process" 2>/dev/null; do
    sleep 1
done
