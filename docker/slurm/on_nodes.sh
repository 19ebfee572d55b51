#!/usr/bin/env bash
# on_nodes.sh COMMAND…: start Ray on all nodes of a Slurm job, run COMMAND --address … on the first, and end Ray.
# Slurm runs it in propagate.sbatch and train.sbatch. Programs are those on PATH or, with pyxis, in an image:
#   IMAGE=label-propagation.sqsh MOUNTS=/data:/data sbatch …
# Each step has a container of its own; the machine's /tmp is in all of them, since Ray's processes meet there.
set -euo pipefail

first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head --lines=1)
port=$((20000 + SLURM_JOB_ID % 10000))
address=$first:$port
# whoever reaches Ray's ports can run programs as this user, unless he has to know a token
RAY_AUTH_TOKEN=$(od --address-radix=n --format=x1 --read-bytes=32 /dev/urandom | tr --delete ' \n')
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN RAY_USAGE_STATS_ENABLED=0

# In place of this process, so that a signal reaches it. A step survives the death of one of its nodes, as the work does.
on() { # OPTION OF SRUN THAT SAYS WHERE, HOW MANY NODES, COMMAND…
    local where=$1 nodes=$2
    shift 2
    exec srun "$where" --nodes="$nodes" --ntasks="$nodes" --cpus-per-task="$SLURM_CPUS_ON_NODE" --overlap --no-kill \
        --kill-on-bad-exit=0 ${IMAGE:+--container-image="$IMAGE" --container-mounts="/tmp:/tmp${MOUNTS:+,$MOUNTS}"} "$@"
}
start() { # as `on`, and options of `ray start`
    on "$1" "$2" ray start --block --num-cpus="$SLURM_CPUS_ON_NODE" --disable-usage-stats "${@:3}" &
}

steps=()
end() { [ ${#steps[@]} = 0 ] || kill "${steps[@]}" 2>/dev/null || true; wait; }
trap end EXIT
start --nodelist="$first" 1 --head --port="$port" --include-dashboard=false
steps+=($!)
until (: <"/dev/tcp/$first/$port") 2>/dev/null; do
    kill -0 "${steps[0]}" || { echo "$first: Ray did not start" >&2; exit 1; }
    sleep 1
done
if [ "$SLURM_JOB_NUM_NODES" -gt 1 ]; then
    start --exclude="$first" $((SLURM_JOB_NUM_NODES - 1)) --address="$address"
    steps+=($!)
    # a training needs all of them; a propagation takes those that there are
    (on --nodelist="$first" 1 timeout 300 python -c "
import ray, time
ray.init('$address', log_to_driver=False, logging_level='error')
while sum(node['Alive'] for node in ray.nodes()) < $SLURM_JOB_NUM_NODES:
    time.sleep(0.5)") || echo "not all nodes joined within 300 s; going on without them" >&2
fi

on --nodelist="$first" 1 "$@" --address "$address" &
driver=$!
# Slurm's word that time is nearly up reaches this script alone (--signal=B:TERM@300)
trap 'kill -TERM "$driver"' TERM INT
status=0
while kill -0 "$driver" 2>/dev/null; do
    wait "$driver" && status=0 || status=$?
done
exit "$status"
