# What images, boot, run and demo share: where the cache is, which Xen releases there are, what the machine must have.
# Sourced, never run. Expects `here` to be the folder of this file.

root=$(cd "$here/../.." && pwd)
cache=${XMEM_XEN_CACHE:-target/xen}
[[ $cache == /* ]] || cache=$root/$cache

# Xen release -> the Debian suite that ships it.
declare -A suite_of=([4.14]=bullseye [4.17]=bookworm [4.20]=trixie)
releases=(4.14 4.17 4.20)

die() {
    echo "$(basename "$0"): $*" >&2
    exit 1
}

# The names of the programs that are not on this machine.
missing_tools() {
    local tool
    for tool in qemu-system-x86_64 cpio; do
        command -v "$tool" >/dev/null || echo "$tool"
    done
}

need_tools() {
    local missing
    missing=$(missing_tools | paste -sd ' ')
    [[ -z $missing ]] || die "not on this machine: $missing. Install with: apt-get install -y qemu-system-x86 cpio"
}

known_release() {
    [[ -n ${suite_of[$1]:-} ]] || die "no such Xen release here: '$1' (there are: ${releases[*]})"
}

# A program of timing/ for dom0: static, like xmem, but without its randomised addresses, the relocation of which is dear
# under emulation.
timing_program() { # NAME FILE
    rustc --edition 2024 -O -C panic=abort -C strip=symbols -C target-feature=+crt-static -C relocation-model=static \
        --target x86_64-unknown-linux-gnu -o "$2" "$here/timing/$1.rs"
}
