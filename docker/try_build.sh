#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Build docker/Dockerfile where neither a Docker daemon nor the images of ROS are to be had.
#
#   sudo docker/try_build.sh /var/tmp/depthrefl_image      # needs apt install buildah debootstrap
#
# Every line of the Dockerfile runs as it is, on a base image that stands in for ros:kilted-ros-base:
# Debian 12 with the wheels of ROS 2 Kilted from PyPI and empty packages for the names ros-kilted-*.
# Then what was built is tried: doctor, the depth of the shipped recording, and the node.
set -euo pipefail

checkout="$(cd "$(dirname "$0")/.." && pwd)"
folder="$(mkdir -p "${1:?folder for the base image}" && cd "$1" && pwd)"
root="$folder/root"
distro=kilted

image() { buildah --root "$folder/images" --runroot "$folder/run" --storage-driver vfs "$@"; }

if [ ! -e "$folder/base_made" ]; then
    rm -rf "$root"
    debootstrap --variant=minbase \
        --include=ca-certificates,python3,python3-numpy,python3-venv,python3-yaml bookworm "$root"
    # Behind a proxy with certificates of its own.
    cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
    cp /etc/resolv.conf "$root/etc/"
    printf '[global]\ncert = /etc/ssl/certs/ca-certificates.crt\n' > "$root/etc/pip.conf"
    cp "$checkout/docker/requirements.py" "$checkout/setup.py" "$root/tmp/"
    chroot "$root" /bin/bash -euo pipefail -c "
        cd /tmp
        # The wheels want an environment; what is in it is then seen from outside, as ROS is.
        python3 -m venv --system-site-packages /opt/ros/$distro
        /opt/ros/$distro/bin/python requirements.py setup.py ros | grep -v cv-bridge > list.txt
        /opt/ros/$distro/bin/pip install --no-cache-dir -r list.txt
        /opt/ros/$distro/bin/pip install --no-cache-dir --no-deps cv-bridge==1.13.0.post0
        echo 'import site; site.addsitedir(\"/opt/ros/$distro/lib/python3.11/site-packages\")' \
            > /usr/local/lib/python3.11/dist-packages/ros.pth
        {
            echo 'export ROS_DISTRO=$distro AMENT_PREFIX_PATH=/opt/ros/$distro'
            printf 'export LD_LIBRARY_PATH=/opt/ros/$distro/lib'
            printf ':%s' /opt/ros/$distro/lib/python3.11/site-packages/*.libs
        } | tee /opt/ros/$distro/setup.sh > /opt/ros/$distro/setup.bash"
    grep -oP 'ros-\$\{ROS_DISTRO\}-\K[\w-]+' "$checkout/docker/Dockerfile" | while read -r name; do
        package="$root/tmp/ros-$distro-$name"
        mkdir -p "$package/DEBIAN"
        printf 'Package: ros-%s-%s\nVersion: 0\nArchitecture: all\nMaintainer: none\nDescription: %s\n' \
            "$distro" "$name" 'stands in for a package of ROS' > "$package/DEBIAN/control"
        dpkg-deb --root-owner-group --build "$package" "$package.deb"
    done
    chroot "$root" /bin/bash -c 'dpkg --install /tmp/*.deb && rm -r /tmp/*'
    touch "$folder/base_made"
fi

container="$(image from scratch)"
image copy --quiet "$container" "$root" /
image config --env ROS_DISTRO=$distro --env LANG=C.UTF-8 "$container"
image commit --quiet --rm "$container" "docker.io/library/ros:$distro-ros-base"
image build --format docker --isolation chroot --pull-never --build-arg ROS_DISTRO=$distro \
    --file "$checkout/docker/Dockerfile" --tag depthrefl_ros "$checkout"

container="$(image from --pull-never localhost/depthrefl_ros)"
try() { image run --isolation chroot "$container" -- /entrypoint.sh "$@"; }
try depthrefl doctor
try depthrefl annotate /opt/depthrefl/install/depthrefl_ros/share/depthrefl_ros/test/data/corridor.mcap \
    /tmp/depth.mcap
try timeout --signal INT 20 depthrefl_node --ros-args -p model:=indoor_nano || [ $? = 124 ]
image rm "$container" > /dev/null
image images
