# Shared by the scripts of tests/xen: the cache, the Xen releases, the architectures, the tools that this machine needs.
# Sourced. Expects `here` to be the directory of this file.

root=$(cd "$here/../.." && pwd)
cache=${XMEM_XEN_CACHE:-target/xen}
[[ $cache == /* ]] || cache=$root/$cache

# Xen release -> the Debian suite that ships it.
declare -A suite_of=([4.14]=bullseye [4.17]=bookworm [4.20]=trixie)
releases=(4.14 4.17 4.20)

# Architecture -> its names elsewhere.
declare -A debian_name=([x86]=amd64 [arm64]=arm64)
declare -A triplet=([x86]=x86_64-linux-gnu [arm64]=aarch64-linux-gnu)
declare -A rust_target=([x86]=x86_64-unknown-linux-gnu [arm64]=aarch64-unknown-linux-gnu)
declare -A loader=([x86]=ld-linux-x86-64.so.2 [arm64]=ld-linux-aarch64.so.1)
declare -A compiler=([x86]=cc [arm64]=aarch64-linux-gnu-gcc)
declare -A emulator=([x86]=qemu-system-x86_64 [arm64]=qemu-system-aarch64)

# Tool -> the Debian packages that it needs.
declare -A package_of=([qemu-system-x86_64]=qemu-system-x86 [qemu-system-aarch64]=qemu-system-arm [cpio]=cpio
    [readelf]=binutils [cc]="gcc libc6-dev" [aarch64-linux-gnu-gcc]="gcc-aarch64-linux-gnu libc6-dev-arm64-cross")

die() {
    echo "$(basename "$0"): $*" >&2
    exit 1
}

# Whether a C compiler makes static programs. Debian's packages of compilers only recommend the C library.
links() { # COMPILER
    echo 'int main(void) { return 0; }' | "$1" -static -x c -o /dev/null - 2>/dev/null
}

# The packages that a boot needs and this machine lacks.
missing_packages() { # ARCH
    local tool
    {
        for tool in "${emulator[$1]}" cpio readelf; do
            command -v "$tool" >/dev/null || echo "${package_of[$tool]}"
        done
        links "${compiler[$1]}" || echo "${package_of[${compiler[$1]}]}"
    } | paste -sd ' '
}

need_tools() { # ARCH
    local missing
    missing=$(missing_packages "$1")
    [[ -z $missing ]] || die "not installed here: $missing. Install with: apt-get install -y $missing"
}

known_release() {
    [[ -n ${suite_of[$1]:-} ]] || die "no such Xen release here: '$1' (known: ${releases[*]})"
}

known_architecture() {
    [[ -n ${triplet[$1]:-} ]] || die "no such architecture here: '$1' (known: x86, arm64)"
}

# A C program of programs/ for dom0, static.
c_program() { # NAME ARCH FILE
    "${compiler[$2]}" -O2 -Wall -static -s -o "$3" "$here/programs/$1.c"
}

# A kernel of one instruction, for domains that are only listed. x86 only.
idle_kernel() { # FILE
    "${compiler[x86]}" -nostdlib -static -Wl,-Ttext-segment=0x100000,--build-id=none -o "$1" "$here/programs/idle.S"
}

# A Rust program of programs/ for dom0: static, and at a fixed address, since relocation is expensive under emulation.
rust_program() { # NAME FILE
    rustc --edition 2024 -O -C panic=abort -C strip=symbols -C target-feature=+crt-static -C relocation-model=static \
        --target x86_64-unknown-linux-gnu -o "$2" "$here/programs/$1.rs"
}
