#!/usr/bin/env bash
# propagate.sbatch does what it says, under a stub of Slurm: two nodes of Ray with a core each, on a loopback of their own.
# Needs root and .venv (make test).
set -euo pipefail
# a network in which there is nothing else, and processes that all end with this one
if [ "${1:-}" != apart ]; then
    exec unshare --net --pid --fork --kill-child --mount-proc "$0" apart
fi
ip link set lo up
checkout=$(cd "$(dirname "$0")/../.." && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/bin"
program() { cat >"$folder/bin/$1" && chmod +x "$folder/bin/$1"; }

program scontrol <<<'#!/bin/sh
echo 127.0.0.1'
program srun <<<'#!/bin/sh
while case $1 in --*) true ;; *) false ;; esac; do shift; done
exec "$@"'
program propagate <<<"#!/bin/sh
exec '$checkout/.venv/bin/python' -m propagate \"\$@\""

export PATH="$folder/bin:$checkout/.venv/bin:$PATH" PYTHONPATH=$checkout RAY_TMPDIR=$folder
export SLURM_JOB_ID=1 SLURM_JOB_NODELIST=nodes SLURM_JOB_NUM_NODES=2 SLURM_CPUS_ON_NODE=1

cd "$checkout"
propagate synth "$folder/street" --snippets 3 --size 64x128 --around 1
bash docker/slurm/propagate.sbatch --root "$folder/street" --out "$folder/shards" --frames 1 --clips-per-shard 1 \
    >"$folder/said" 2>&1 || { cat "$folder/said" >&2; exit 1; }
cat "$folder/said"
if grep --quiet "not all nodes" "$folder/said"; then exit 1; fi
propagate verify "$folder/shards"
