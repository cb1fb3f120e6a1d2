#!/usr/bin/env bash
# Creates a TPU slice, installs this working tree on all of its hosts and trains there. See README.md.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: launch/tpu.sh COMMAND NAME [FLAGS OF trustee train]

  up NAME --config=FILE --workdir=FOLDER   create unless it exists, install, train; the same
                                           command again goes on after a preemption
  create NAME       create the slice (waits until it is there)
  install NAME      copy this working tree to every host and install it
  train NAME ...    start or resume the training on every host, in the background
  logs NAME         follow the first host's log
  stop NAME         save a checkpoint and stop (SIGTERM)
  delete NAME       delete the slice

settings (environment):
  ZONE       zone, e.g. us-west4-a                                   (needed)
  SLICE      accelerator type: v5litepod-16, v6e-16, ...             (default v5litepod-16)
  RUNTIME    software version                                        (default by SLICE)
  SPOT       1: a preemptible slice                                  (default 0)
  QUEUED     1: wait in the queue for capacity (queued resource)     (default 0)
  SHARE      NFS share HOST:/PATH, mounted at /mnt/runs on all hosts (default none)
  PROJECT    Google Cloud project                                    (default gcloud's own)
TEXT
}

SLICE=${SLICE:-v5litepod-16}
SPOT=${SPOT:-0}
QUEUED=${QUEUED:-0}
SHARE=${SHARE:-}
REMOTE=trustee-jax  # folder in the home of every host

die() {
  echo "launch/tpu.sh: $*" >&2
  exit 2
}

default_runtime() {
  case $SLICE in
    v5litepod-*) echo v2-alpha-tpuv5-lite ;;
    v5p-*) echo v2-alpha-tpuv5 ;;
    v6e-*) echo v2-alpha-tpuv6e ;;
    *) die "no known software version for SLICE=$SLICE; set RUNTIME" ;;
  esac
}

tpus() {
  gcloud compute tpus "$@" --zone="$ZONE" ${PROJECT:+--project="$PROJECT"}
}

# Runs a command line on all hosts, or on the one given as $2.
on_hosts() {
  tpus tpu-vm ssh "$NAME" --worker="${2:-all}" --command="$1"
}

create() {
  local runtime
  runtime=${RUNTIME:-$(default_runtime)}
  local options=(--accelerator-type="$SLICE")
  if [[ $SPOT == 1 ]]; then options+=(--spot); fi
  if [[ $QUEUED == 1 ]]; then
    if [[ -z $(queue_state) ]]; then
      tpus queued-resources create "$NAME" --node-id="$NAME" --runtime-version="$runtime" "${options[@]}"
    fi
    local queue
    until queue=$(queue_state) && [[ $queue == ACTIVE ]]; do
      [[ $queue != FAILED && $queue != SUSPENDED ]] || die "the queued resource $NAME is $queue; run delete, then try again"
      echo "waiting for capacity: $queue"
      sleep "${POLL_SECONDS:-60}"
    done
  else
    tpus tpu-vm create "$NAME" --version="$runtime" "${options[@]}"
  fi
}

# Empty if there is none.
queue_state() {
  tpus queued-resources describe "$NAME" --format='value(state.state)' 2>/dev/null || true
}

node_state() {
  tpus tpu-vm describe "$NAME" --format='value(state)' 2>/dev/null || true
}

delete() {
  if [[ $QUEUED == 1 ]]; then
    tpus queued-resources delete "$NAME" --force --quiet
  else
    tpus tpu-vm delete "$NAME" --quiet
  fi
}

install() {
  archive=$(mktemp --suffix=.tar.gz)
  trap 'rm -f "$archive"' EXIT
  git ls-files -z --cached --others --exclude-standard | tar --null -czf "$archive" -T -
  tpus tpu-vm scp "$archive" "$NAME:trustee-jax.tar.gz" --worker=all
  # The images' own Python is too old; uv brings one.
  on_hosts "set -e
mkdir -p $REMOTE
tar -xzf trustee-jax.tar.gz -C $REMOTE
cd $REMOTE
python3 -m pip install --quiet --user uv
[ -d .venv ] || python3 -m uv venv --python 3.12 .venv
python3 -m uv pip install --python .venv --quiet -e '.[tpu]'"
  if [[ -n $SHARE ]]; then
    on_hosts "set -e
sudo mkdir -p /mnt/runs
if ! mountpoint -q /mnt/runs; then
  command -v mount.nfs >/dev/null || { sudo apt-get update -q && sudo apt-get install -yq nfs-common; }
  sudo mount -t nfs $SHARE /mnt/runs
fi"
  fi
}

train() {
  local flags
  flags=$(printf '%q ' "$@")
  on_hosts "cd $REMOTE
if pgrep -f '[t]rustee train' >/dev/null; then echo 'a training is running already' >&2; exit 1; fi
nohup .venv/bin/trustee train --distributed $flags >train.log 2>&1 </dev/null &"
  echo "training; follow it with: launch/tpu.sh logs $NAME"
}

up() {
  local state
  state=$(node_state)
  # A preempted slice still exists but cannot be used again.
  if [[ $state == PREEMPTED || $state == TERMINATED ]]; then
    delete
    state=
  fi
  [[ -n $state ]] || create
  install
  train "$@"
}

[[ $# -ge 1 && $1 != --help && $1 != -h ]] || { usage; exit 0; }
COMMAND=$1
NAME=${2:-}
[[ -n $NAME && $NAME != -* ]] || die "write the slice's name after $COMMAND; see --help"
[[ -n ${ZONE:-} ]] || die "set ZONE, e.g. ZONE=us-west4-a"
command -v gcloud >/dev/null || die "gcloud is not installed: https://cloud.google.com/sdk/docs/install"
shift 2
cd "$(dirname "$0")/.."

case $COMMAND in
  up | train)
    [[ " $*" == *" --config"[=\ ]* && " $*" == *" --workdir"[=\ ]* ]] || die "$COMMAND needs --config= and --workdir="
    "$COMMAND" "$@"
    ;;
  create | install | delete)
    [[ $# -eq 0 ]] || die "$COMMAND takes no flags: $*"
    "$COMMAND"
    ;;
  logs) on_hosts "tail -n 50 -F $REMOTE/train.log" 0 ;;
  stop) on_hosts "pkill -TERM -f '[t]rustee train'" ;;
  *) die "unknown command $COMMAND; see --help" ;;
esac
