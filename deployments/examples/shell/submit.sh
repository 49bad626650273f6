#!/bin/sh
# Submits one request with the nats command line and awaits its completion:
#
#   NATS_URL=nats://127.0.0.1:4222 sh submit.sh "a lighthouse in a storm"
#
# It reads NATS_URL, NATS_USER, NATS_PASSWORD and NATS_CREDS by itself. For the JSON, jq is the better tool.
set -eu

prompt=${1:-a lighthouse in a storm}
id=shell-$(date +%s)-$$

# A request and not a publish: the answer is the stream's receipt. To send it again with the same id is safe.
nats request --header "Kling-Request-Id:$id" --header "Nats-Msg-Id:$id" --header Kling-Meta-Tenant:acme --raw \
  kling.request.text2video "{\"model_name\":\"kling-v3\",\"prompt\":\"$prompt\",\"duration\":\"5\"}" >&2

# From the stream, so that it does not matter whether the completion is there already.
completion=$(nats subscribe --stream KLING_EVENTS --all --count 1 --raw "kling.completion.*.*.$id")
printf '%s\n' "$completion"
case $completion in
  *'"status":"succeed"'*) ;;
  *) exit 1 ;;
esac
