#!/bin/sh
# The README's JavaScript example, with OpenAI's SDK from the npm registry, against the shipped models on a free port.
set -eu
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
port=$(.venv/bin/python -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
SWITCHBOARD_CONFIG=backends/nano/switchboard.toml SWITCHBOARD_LISTEN=127.0.0.1:$port SWITCHBOARD_DATA=$work/data \
  .venv/bin/python -m proxy serve >"$work/log" 2>&1 &
server=$!
trap 'kill $server 2>/dev/null; wait $server || true; rm -rf "$work"' EXIT
.venv/bin/python - "$port" >"$work/example.mjs" <<'PY'
import sys

sys.path.insert(0, ".")
from tests.e2e.readme import at_port, blocks

(example,) = blocks("javascript")
print(at_port(example, int(sys.argv[1])))
PY
mkdir -p "$work/backends" && ln -s "$PWD/backends/nano" "$work/backends/nano"
(cd "$work" && npm install --silent --no-fund --no-audit openai@7.57.0)
tries=0
until curl -sf "http://127.0.0.1:$port/ready" >/dev/null; do
  tries=$((tries + 1))
  [ $tries -lt 300 ] || { cat "$work/log"; exit 1; }
  sleep 0.2
done
answer=$(cd "$work" && node example.mjs)
expected="1, 2, 3, 4, 5.Maria bought the yellow box at the hotel."
[ "$answer" = "$expected" ] || { printf 'expected: %s\ngot:      %s\n' "$expected" "$answer"; exit 1; }
echo "the JavaScript example answers: $answer"
