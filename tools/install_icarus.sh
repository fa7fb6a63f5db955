#!/bin/sh
# Install Icarus Verilog through the system's package manager, or say in one sentence what to do.
set -u

as_root=""
if [ "$(id -u)" != 0 ]; then
    if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then as_root="sudo -n"; else as_root="false"; fi
fi

install() {
    [ "$as_root" = false ] && return 1
    echo "selvage: installing Icarus Verilog"
    if command -v apt-get >/dev/null; then
        $as_root apt-get update -qq && DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq iverilog
    elif command -v dnf >/dev/null; then
        $as_root dnf install -y -q iverilog
    elif command -v pacman >/dev/null; then
        $as_root pacman -S --noconfirm iverilog
    elif command -v brew >/dev/null; then
        brew install icarus-verilog
    else
        return 1
    fi
}

log=$(mktemp)
install >"$log" 2>&1
if ! command -v iverilog >/dev/null; then
    echo "selvage: Icarus Verilog is not installed and could not be installed: install the package iverilog (Debian, Ubuntu, Fedora, Arch) or icarus-verilog (Homebrew), see $log" >&2
    exit 2
fi
rm -f "$log"
