#!/bin/sh
# What a container of our images does: `server`, `worker POOL`, or any other command of instaflow.
# Secrets come from the environment alone; one that is missing is named.
set -eu

case "${1:-}" in
server)
    : "${PREFECT_SERVER_API_AUTH_STRING:?is not set: say USER:PASSWORD, which whoever speaks to the server has to know}"
    : "${PREFECT_SERVER_DATABASE_PASSWORD:?is not set: say the password of the PostgreSQL database}"
    export PREFECT_API_AUTH_STRING="$PREFECT_SERVER_API_AUTH_STRING"
    shift
    # no room for Prefect's second UI, which asks an analytics host: flows/server/pages.py
    export PREFECT_UI_STATIC_DIRECTORY="${PREFECT_HOME:-$HOME/.prefect}/pages"
    mkdir -p "$PREFECT_UI_STATIC_DIRECTORY"
    ln -sfn nowhere "$PREFECT_UI_STATIC_DIRECTORY/v2"
    exec prefect server start "$@"
    ;;
worker)
    : "${PREFECT_API_URL:?is not set: say where the Prefect server is, http://HOST:4200/api}"
    : "${PREFECT_API_AUTH_STRING:?is not set: say the USER:PASSWORD of the Prefect server}"
    ;;
prefect | python)
    exec "$@"
    ;;
esac
exec instaflow "$@"
