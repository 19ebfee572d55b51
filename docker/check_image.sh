#!/usr/bin/env bash
# docker/Dockerfile builds, without a daemon, and its image propagates as a user without rights, Ray included.
#   docker/check_image.sh quick    the dependencies are those of .venv, mounted: for every change
#   docker/check_image.sh whole    pip installs them into the image, as it does for users
# Needs root, buildah, mmdebstrap and .venv (make test). Packages come from where this machine has its own from.
set -euo pipefail
variant=${1:?quick or whole}
checkout=$(cd "$(dirname "$0")/.." && pwd)
python=$checkout/.venv/bin/python
folder=$(mktemp -d)
torch=2.9.1+cu126 # the version of the published base
image=localhost/label-propagation

say() { echo "== $SECONDS s: $*"; }
fail() { echo "$image: $*" >&2; exit 1; }
buildah() { command buildah --root "$folder/storage" --runroot "$folder/run" "$@"; }

clean_up() {
    # what is mounted below belongs to this machine, and must not go with the folder
    awk -v below="$folder/" 'index($2, below) == 1 { print $2 }' /proc/mounts | sort --reverse |
        xargs --no-run-if-empty umount && rm -rf "$folder"
}
trap clean_up EXIT

say "a base of Debian's packages, in place of the published one"
# shellcheck disable=SC2016 # apt-get fills these in
apt-get indextargets --format 'deb $(REPO_URI) $(CODENAME) $(COMPONENT)' 'Created-By: Packages' 'Origin: Debian' |
    sort --unique >"$folder/sources.list"
# shellcheck source=/dev/null
release=$(. /etc/os-release && echo "$VERSION_CODENAME")
mmdebstrap --quiet --variant=minbase --include=ca-certificates,python3-venv "$release" "$folder/base.tar" "$folder/sources.list"
base=$(buildah from scratch)
buildah add --quiet "$base" "$folder/base.tar" / >/dev/null
# with a Python of its own that only PATH leads to, as there
buildah config --env PATH=/opt/base/bin:/usr/bin:/bin "$base"
buildah run --isolation chroot "$base" -- python3 -m venv /opt/base
root=$(buildah mount "$base")

# pip of the build is told what this machine's is told, and sees the files that are named there
mounts=()
mount() { # FROM TO
    mkdir --parents "$(dirname "$root$2")"
    if [ -d "$1" ]; then mkdir --parents "$root$2"; else touch "$root$2"; fi
    mounts+=(--volume "$1:$2:ro")
}
"$python" -m pip config list | "$python" -c '
import ast, sys
found = [line.strip().partition("=")[::2] for line in sys.stdin]
settings = {name.rpartition(".")[2]: ast.literal_eval(value) for name, value in reversed(found)}  # of the environment last
print("[global]", *(f"{name} = {value}" for name, value in settings.items()), sep="\n")' >"$folder/pip.conf"
mount "$folder/pip.conf" /etc/pip.conf
# (what a local index lists lies beside its folder "simple")
while read -r path; do
    [ ! -e "$path" ] || mount "$path" "$path"
done < <(grep --only-matching --perl-regexp '(?<= |//)/[^ ]*' "$folder/pip.conf" | sed 's,/simple/*$,,')
run() { buildah run --isolation chroot "${mounts[@]}" "$@"; }

say "PyTorch in it, which says that it is $torch: the build must leave it"
site=$(run "$base" -- python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
if [ "$variant" = quick ]; then
    inside=$(run "$base" -- python -c 'import sys; print("{}.{}".format(*sys.version_info))')
    outside=$("$python" -c 'import sys; print("{}.{}".format(*sys.version_info))')
    [ "$inside" = "$outside" ] || fail "its base has Python $inside, but .venv has $outside; try: $0 whole"
    dependencies=$folder/dependencies
    installed=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    cp --recursive --link "$installed" "$dependencies" 2>/dev/null || cp --recursive "$installed/." "$dependencies"
    rm -rf "$dependencies"/*label_propagation*
    mount "$dependencies" /opt/dependencies
    echo /opt/dependencies >"$root$site/dependencies.pth"
else
    run "$base" -- python -m pip install --quiet --no-cache-dir "$(grep '^torch==' "$checkout/constraints.txt")"
    dependencies=$root$site
fi
mv "$dependencies"/torch-*.dist-info "$dependencies/torch-$torch.dist-info"
sed --in-place "s/^Version: .*/Version: $torch/" "$dependencies/torch-$torch.dist-info/METADATA"
listing() { (cd "$1" && find . -xdev | sed 's/^.//' | sort); }
listing "$root" >"$folder/before"
buildah umount "$base" >/dev/null
buildah commit --quiet --format docker "$base" localhost/base >/dev/null

say "the image"
buildah bud --quiet --isolation chroot --format docker "${mounts[@]}" --build-arg BASE=localhost/base \
    --ignorefile "$checkout/docker/Dockerfile.dockerignore" --file "$checkout/docker/Dockerfile" --tag "$image" "$checkout"
container=$(buildah from --pull-never "$image")

say "what is in it"
buildah inspect --type image "$image" | "$python" -c '
import json, sys
config = json.load(sys.stdin)["Docker"]["config"]
assert config["User"].split(":")[0] not in ("", "0", "root"), config["User"]
assert config["Healthcheck"]["Test"] == ["CMD", "propagate", "--version"], config["Healthcheck"]
assert config["Labels"]["org.opencontainers.image.base.name"] == "localhost/base", config["Labels"]'
found=$(run "$container" -- python -c 'from importlib.metadata import version; print(version("torch"))')
[ "$found" = "$torch" ] || fail "PyTorch is $found now; the base had $torch, which the build must leave as it is"
root=$(buildah mount "$container")
listing "$root" >"$folder/after"
# Python's own folder, programs, what login shells read, and the folder of the data
added=$(comm -13 "$folder/before" "$folder/after" |
    grep --invert-match --extended-regexp "^($site/|/opt/base/bin/|/etc/profile.d/image.sh\$|/data\$)" || true)
added+=$(find "$root$site" -maxdepth 1 -name build -or -name tests -or -name 'label_propagation*.egg-info')
[ -z "$added" ] || fail "building left more than what was installed: $added"
buildah umount "$container" >/dev/null

say "what it does, as its own user and as one that it does not know"
mkdir --mode 777 "$folder/data"
mounts+=(--volume "$folder/data:/data")
for user in "" 12345:12345; do
    in_it() { run ${user:+--user "$user"} "$container" -- "$@"; }
    [ "$(in_it id -u)" != 0 ] || fail "it runs as root"
    place=/data/${user:-own}
    in_it bash -lc "propagate --version" # as KubeRay starts what it runs
    in_it propagate synth "$place/street" --snippets 2 --size 64x128 --around 1
    in_it propagate run --root "$place/street" --out "$place/shards" --frames 1 --clips-per-shard 1 --workers 2
    in_it propagate verify "$place/shards"
done
if [ "$variant" = whole ]; then
    run "$container" -- segtrain fit --recipe tiny --shards /data/own/shards --out /data/own/run --epochs 1 --batch-size 2 --crop 64x64
    # as docker/kubernetes has it; on loopback, and at ports of its own
    cp "$checkout/docker/check_health.sh" "$folder/data"
    run "$container" -- bash /data/check_health.sh
fi
say "the image builds, and works"
