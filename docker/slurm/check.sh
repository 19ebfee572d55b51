#!/usr/bin/env bash
# propagate.sbatch does what it says, on loopback: three nodes of Ray with one core each, on this machine, under a stub of Slurm.
# Needs .venv (make test).
set -euo pipefail
checkout=$(cd "$(dirname "$0")/../.." && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/bin"
program() { cat >"$folder/bin/$1" && chmod +x "$folder/bin/$1"; }

program scontrol <<<'#!/bin/sh
echo 127.0.0.1'
# where a step runs does not matter here, only how often
program srun <<'PROGRAM'
#!/usr/bin/env bash
for ntasks; do case $ntasks in --ntasks=*) break ;; esac done
while [[ $1 == --* ]]; do shift; done
[ "$ntasks" != --ntasks=1 ] || exec "$@"
trap 'kill $(jobs -p)' TERM
for ((task = 0; task < ${ntasks#*=}; task++)); do "$@" & done
wait
PROGRAM
program propagate <<<"#!/bin/sh
exec '$checkout/.venv/bin/python' -m propagate \"\$@\""

export PATH="$folder/bin:$checkout/.venv/bin:$PATH" PYTHONPATH=$checkout RAY_TMPDIR=$folder
export RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0 # Ray's word for: on loopback alone
export SLURM_JOB_NODELIST=nodes SLURM_JOB_NUM_NODES=3 SLURM_CPUS_ON_NODE=1
port=$(python -c '
import socket
for port in range(20000, 30000):
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        continue
    print(port)
    break')
export SLURM_JOB_ID=$((port - 20000))

cd "$checkout"
propagate synth "$folder/street" --snippets 6 --size 64x128
bash docker/slurm/propagate.sbatch --root "$folder/street" --out "$folder/shards" --frames 1 --clips-per-shard 1 \
    >"$folder/said" 2>&1 || { cat "$folder/said" >&2; exit 1; }
cat "$folder/said"
if grep --quiet "not all nodes" "$folder/said"; then exit 1; fi
propagate verify "$folder/shards"
