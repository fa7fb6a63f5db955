#!/bin/sh
# Install Chromium, in which the page of selvage report is tested, through the system's package manager. Where that
# cannot be, the tests of the page are left out, and say so.
set -u

command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null && exit 0
as_root=""
if [ "$(id -u)" != 0 ]; then
    if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then as_root="sudo -n"; else as_root="false"; fi
fi

install() {
    [ "$as_root" = false ] && return 1
    echo "selvage: installing Chromium for the tests of the page"
    if command -v apt-get >/dev/null; then
        $as_root apt-get update -qq &&
            DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq --no-install-recommends chromium
    elif command -v dnf >/dev/null; then
        $as_root dnf install -y -q chromium
    elif command -v pacman >/dev/null; then
        $as_root pacman -S --noconfirm chromium
    else
        return 1
    fi
}

log=$(mktemp)
if install >"$log" 2>&1; then
    rm -f "$log"
else
    echo "selvage: Chromium is not installed and could not be installed: the tests of the page are left out, see $log" >&2
fi
