#!/bin/sh
# Builds compose/compose.yaml's image, starts the stack, asks it for a chat, a transcription and a translation, and takes it down.
# Without a docker engine nothing of that can be done: it says so and fails.
set -eu
cd "$(dirname "$0")/../.."

refuse() {
  echo "test-compose: $1. NOTHING WAS BUILT OR RUN." >&2
  exit 1
}
command -v docker >/dev/null || refuse "there is no docker command"
docker compose version >/dev/null 2>&1 || refuse "docker has no compose plugin"
docker info >/dev/null 2>&1 || refuse "no docker engine answers (docker info)"

export COMPOSE_FILE=compose/compose.yaml COMPOSE_PROJECT_NAME=switchboard-test
trap 'docker compose logs --tail 50; docker compose down --volumes --timeout 5' EXIT
docker compose up --build --detach --wait --wait-timeout 600

says() { # says WORD COMMAND...: the command's answer holds the word
  word=$1
  shift
  answer=$("$@") || { echo "failed: $*" >&2; exit 1; }
  case $answer in *"$word"*) echo "ok: $answer" ;; *) echo "no '$word' in: $answer" >&2; exit 1 ;; esac
}

for port in 8000 5000 8080; do
  says ready curl -fsS "http://127.0.0.1:$port/ready"
done
says Paris curl -fsS http://127.0.0.1:8080/v1/chat/completions -H 'Content-Type: application/json' \
  -d '{"model": "nano-chat", "messages": [{"role": "user", "content": "What is the capital of France?"}]}'
says hotel curl -fsS http://127.0.0.1:8080/v1/audio/transcriptions -F file=@backends/nano/samples/1_en-us.wav -F model=nano-whisper
says translation_text curl -fsS http://127.0.0.1:8000/infer -H 'Content-Type: application/json' \
  -d '{"task": "translation", "model": "nano-translate", "inputs": "The sister drinks the coffee.", "params": {"src_lang": "en", "tgt_lang": "fr"}}'
says 10001 docker compose exec -T proxy id -u
echo "the CPU stack works"
