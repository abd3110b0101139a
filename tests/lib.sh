# shellcheck shell=bash disable=SC2034
# Sourced by the tests that are shell scripts: their options, their requirements, deadlines, and counting.
#
#   source tests/lib.sh
#   options "$@"
#   needs PROGRAM:PACKAGE...
#   check NAME COMMAND...
#   finish
#
# Each check runs in a process group of its own, which is killed after `deadline` seconds.

export PATH=$PATH:/usr/sbin:/sbin
passed=0 failed=0 skipped=0
deadline=120
install=yes quick=no
dir=$(mktemp -d)
trap 'rm -rf --one-file-system "$dir"' EXIT

# Reads --no-install and --quick.
options() {
    local option
    for option in "$@"; do
        case $option in
        --no-install) install=no ;;
        --quick) quick=yes ;;
        *) echo "$0: unknown option: $option" >&2 && exit 2 ;;
        esac
    done
}

# Ends the test with one skip.
skip_all() {
    printf 'skipped: %s\n\n0 passed, 0 failed, 1 skipped\n' "$*"
    exit 0
}

skip() { # NAME REASON
    skipped=$((skipped + 1))
    echo "skipped $1: $2"
}

# Lets one test at a time install things, until it calls `installed` or ends.
installing() {
    mkdir -p target/tools
    exec {installer}>target/tools/lock && flock "$installer"
}

installed() {
    exec {installer}>&-
}

# Installs the packages of missing programs; ends the test if one stays missing.
needs() { # PROGRAM:PACKAGE...
    local need packages=()
    for need in "$@"; do
        command -v "${need%%:*}" >/dev/null || packages+=("${need##*:}")
    done
    install_packages "${packages[@]}"
}

install_packages() { # PACKAGE...
    local packages=("$@") sudo=()
    [[ $# -gt 0 ]] || return 0
    [[ $install == yes ]] && command -v apt-get >/dev/null || skip_all "needs ${packages[*]}"
    as_root
    installing
    echo "installing ${packages[*]}"
    timeout 300 "${sudo[@]}" apt-get update -q >"$dir/apt" 2>&1 &&
        timeout 600 "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive \
            apt-get install -y -q --no-install-recommends "${packages[@]}" >"$dir/apt" 2>&1 || {
        tail -n 5 "$dir/apt"
        skip_all "cannot install ${packages[*]}"
    }
    installed
}

# Sets `sudo` to a command prefix that runs as root; ends the test if there is none.
as_root() {
    sudo=()
    [[ $EUID != 0 ]] || return 0
    sudo -n true 2>/dev/null || skip_all "needs root, or sudo without a password"
    sudo=(sudo -n)
}

# Sets `xmem` to the program: $XMEM, or what cargo builds of this tree.
needs_xmem() {
    if [[ -n ${XMEM:-} ]]; then
        xmem=$(realpath "$XMEM")
    else
        echo "building xmem"
        xmem=$(timeout 1800 cargo build --quiet --locked --bin xmem --message-format=json-render-diagnostics |
            sed -n 's/.*"executable":"\([^"]*\)".*/\1/p')
        [[ -x $xmem ]] || { echo "cargo build failed" && exit 1; }
    fi
}

# Sets `debs` to a directory with the unpacked packages: nothing is installed, and no service starts.
unpacked_debs() { # PACKAGE...
    local package
    debs=$PWD/target/tools/debs
    mkdir -p "$debs/packages"
    for package in "$@"; do
        [[ ! -e $debs/$package.done ]] || continue
        [[ $install == yes ]] && command -v apt-get >/dev/null || skip_all "needs $package"
        installing
        echo "fetching $package"
        (cd "$debs/packages" && timeout 300 apt-get download -q "$package" >"$dir/apt" 2>&1) || {
            as_root
            timeout 300 "${sudo[@]}" apt-get update -q >"$dir/apt" 2>&1
            (cd "$debs/packages" && timeout 300 apt-get download -q "$package" >"$dir/apt" 2>&1) ||
                skip_all "cannot fetch $package"
        }
        dpkg-deb -x "$debs/packages/${package}"_*.deb "$debs" && touch "$debs/$package.done"
        installed
    done
}

# Sets `venv` to a virtual environment of $python (default python3) with these Python packages.
virtualenv() { # NAME PACKAGE...
    local name=$1
    shift
    venv=$PWD/target/tools/venv-$name
    [[ ! -e $venv/done || $(<"$venv/done") != "$*" ]] || return 0
    [[ $install == yes ]] || skip_all "needs a virtual environment with $*"
    installing
    # Another test may have made it meanwhile.
    [[ ! -e $venv/done || $(<"$venv/done") != "$*" ]] || { installed && return; }
    echo "installing $* into target/tools/venv-$name"
    rm -rf "$venv"
    { timeout 120 "${python:-python3}" -m venv "$venv" && timeout 600 "$venv/bin/pip" install --quiet "$@"; } \
        >"$dir/pip" 2>&1 || {
        tail -n 5 "$dir/pip"
        skip_all "cannot install $*"
    }
    echo "$*" >"$venv/done"
    installed
}

# Makes a cargo command available: in target/tools unless it is installed.
cargo_tool() { # NAME
    export PATH=$PWD/target/tools/bin:$PATH
    ! command -v "$1" >/dev/null || return 0
    [[ $install == yes ]] || return 1
    echo "installing $1 into target/tools"
    # It only packs what is built already, so it is built without optimisation, in half the time.
    timeout 1800 cargo install --quiet --locked --debug --no-default-features --root target/tools "$1"
}

# Runs `make KIND`; `package KIND` prints the path of what it made.
make_package() { # KIND [VARIABLE=VALUE...]
    make --silent "$@" CARGO="cargo --quiet" >"$dir/made" 2>&1 || {
        cat "$dir/made"
        return 1
    }
    realpath "$(grep -oE '[^ ]+\.(deb|rpm|tar\.gz)$' "$dir/made" | tail -n 1)" >"$dir/package-$1"
}

package() { # KIND
    cat "$dir/package-$1"
}

# Runs a command or function in a subshell and its own process group, for `deadline` seconds at most.
bounded() { # COMMAND...
    local pid end=$((SECONDS + deadline))
    set -m
    ("$@") </dev/null &
    pid=$!
    set +m
    while kill -0 "$pid" 2>/dev/null; do
        if ((SECONDS > end)); then
            echo "killed after $deadline s"
            kill -KILL -- "-$pid" 2>/dev/null
            break
        fi
        sleep 0.05
    done
    wait "$pid"
}

check() { # NAME COMMAND...
    local name=$1
    shift
    if bounded "$@" >"$dir/said" 2>&1; then
        passed=$((passed + 1))
        echo "ok      $name"
    else
        failed=$((failed + 1))
        echo "FAILED  $name"
        sed 's/^/    /' "$dir/said"
    fi
}

# Prints what checks on another machine said, and counts their lines `ok NAME` and `FAILED NAME`.
count_report() { # FILE
    cat "$1"
    passed=$((passed + $(grep -c '^ok ' "$1")))
    failed=$((failed + $(grep -c '^FAILED ' "$1")))
}

finish() {
    printf '\n%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
    [[ $failed == 0 ]]
}

# Runs several tests at once with the same options, prints what each said, and adds up their counts.
run_parts() { # OPTION... -- TEST...
    local given=() part status
    while [[ $1 != -- ]]; do
        given+=("$1")
        shift
    done
    shift
    local -A pid
    trap 'kill $(jobs -p) 2>/dev/null; wait; rm -rf --one-file-system "$dir"' EXIT
    trap 'exit 130' INT TERM
    echo "running $*"
    for part in "$@"; do
        timeout 3600 "$part" "${given[@]}" </dev/null >"$dir/${part##*/}" 2>&1 &
        pid[$part]=$!
    done
    for part in "$@"; do
        wait "${pid[$part]}"
        status=$?
        printf '\n-- %s\n' "$part"
        # The count at its end goes into the sum, and would be counted twice.
        sed '$ { /^[0-9]* passed, /d }' "$dir/${part##*/}"
        [[ $(tail -n 1 "$dir/${part##*/}") =~ ^([0-9]+)' passed, '([0-9]+)' failed, '([0-9]+)' skipped'$ ]] ||
            { failed=$((failed + 1)) && continue; }
        passed=$((passed + BASH_REMATCH[1])) failed=$((failed + BASH_REMATCH[2])) skipped=$((skipped + BASH_REMATCH[3]))
        [[ $status == 0 || ${BASH_REMATCH[2]} != 0 ]] || failed=$((failed + 1))
    done
    finish
}
