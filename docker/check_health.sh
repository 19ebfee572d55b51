#!/usr/bin/env bash
# In the image: a Ray that asks for tokens starts, and answers the probes of docker/kubernetes without one.
set -euo pipefail
port() { python -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
dashboard=$(port) agent=$(port)
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN=5eed5eed5eed5eed5eed5eed5eed5eed5eed5eed5eed5eed RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0
ray start --head --block --disable-usage-stats --node-ip-address=127.0.0.1 --port="$(port)" --num-cpus=1 \
    --dashboard-port="$dashboard" --dashboard-agent-listen-port="$agent" >/tmp/ray.log 2>&1 &
trap 'kill %1; wait %1 || true' EXIT
for url in "127.0.0.1:$dashboard/api/gcs_healthz" "127.0.0.1:$agent/api/local_raylet_healthz"; do
    python - "http://$url" <<'PROGRAM' || { tail -n 30 /tmp/ray.log >&2; exit 1; }
import sys, time, urllib.error, urllib.request

for _ in range(60):
    try:
        print(sys.argv[1], urllib.request.urlopen(sys.argv[1], timeout=5).read().decode())
        break
    except urllib.error.HTTPError as error:
        sys.exit(f"{sys.argv[1]}: {error}")
    except OSError:
        time.sleep(1)
else:
    sys.exit(f"{sys.argv[1]}: no answer within a minute")
PROGRAM
done
