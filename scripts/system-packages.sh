#!/usr/bin/env bash
# Installs the Debian packages that edgeadapt can use: Fashion-MNIST and the Mosquitto broker.
# Neither is required: without them the data is downloaded and the embedded broker is used.
set -u
wanted=()
[ -f /usr/share/datasets/fashion-mnist/train-images-idx3-ubyte.gz ] || wanted+=(dataset-fashion-mnist)
command -v mosquitto >/dev/null || [ -x /usr/sbin/mosquitto ] || wanted+=(mosquitto)
python3 -c 'import ensurepip' 2>/dev/null || wanted+=(python3-venv)
[ ${#wanted[@]} -eq 0 ] && exit 0
if ! command -v apt-get >/dev/null || [ "$(id -u)" -ne 0 ]; then
    echo "Optional system packages are missing: ${wanted[*]} (as root: apt-get install ${wanted[*]}). Going on without."
    exit 0
fi
echo "Installing system packages: ${wanted[*]}"
export DEBIAN_FRONTEND=noninteractive
# A service that apt starts by itself would hold port 1883; edgeadapt starts its own on a free port.
policy=/usr/sbin/policy-rc.d
made_policy=0
if [ ! -e "$policy" ]; then printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod +x "$policy" && made_policy=1; fi
apt-get update -qq && apt-get install -y -qq --no-install-recommends "${wanted[@]}" >/dev/null ||
    echo "apt-get could not install ${wanted[*]}. Going on without: the data is downloaded, the broker is the embedded one."
[ "$made_policy" -eq 1 ] && rm -f "$policy"
exit 0
