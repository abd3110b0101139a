# Debian packages of any suite and architecture, downloaded and unpacked without touching this machine. Sourced.

# The Debian mirror that this machine uses.
mirror() {
    if [[ -n ${XMEM_XEN_MIRROR:-} ]]; then
        echo "$XMEM_XEN_MIRROR"
        return
    fi
    apt-get indextargets --format '$(REPO_URI) $(RELEASE)' 'Created-By: Packages' |
        awk '$2 ~ /^(bullseye|bookworm|trixie|forky|duke|oldoldstable|oldstable|stable|testing|unstable|sid)$/ { print $1; exit }'
}

quietly() {
    local out
    out=$("$@" 2>&1) || die "failed: $*"$'\n'"$out"
}

apt_dir() { # SUITE ARCH
    echo "$cache/apt/$1-$2"
}

# Makes or refreshes the apt configuration of one suite; prints nothing unless it fails.
apt_setup() { # SUITE ARCH KEYRING
    local dir uri name=${debian_name[$2]}
    dir=$(apt_dir "$1" "$2")
    uri=$(mirror)
    [[ -n $uri ]] || die "this machine's apt knows no Debian mirror: set XMEM_XEN_MIRROR to the URL of one"
    [[ -r $3 ]] || die "no keyring to verify the packages with at $3: install debian-archive-keyring or set XMEM_XEN_KEYRING"
    mkdir -p "$dir"/{lists,cache/archives}/partial "$dir/debs"
    : >"$dir/status"
    echo "deb [arch=$name target=Packages signed-by=$3] $uri $1 main" >"$dir/sources.list"
    cat >"$dir/apt.conf" <<END
Dir::Etc::sourcelist "$dir/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::State "$dir";
Dir::State::lists "$dir/lists";
Dir::State::status "$dir/status";
Dir::Cache "$dir/cache";
APT::Architecture "$name";
APT::Architectures { "$name"; };
APT::Sandbox::User "root";
APT::Update::Error-Mode "any";
Acquire::Retries "3";
END
    quietly apt "$1" "$2" apt-get update
}

# The suite whose keyring package verifies all the others. It is itself verified with this machine's keyring.
main_suite=bookworm
keyring=$cache/apt/keyring.gpg

make_keyring() { # ARCH DIRECTORY: unpacks the package there
    apt_setup "$main_suite" "$1" "${XMEM_XEN_KEYRING:-/usr/share/keyrings/debian-archive-keyring.gpg}"
    unpack "$main_suite" "$1" "$2" debian-archive-keyring
    cp "$2/usr/share/keyrings/debian-archive-keyring.gpg" "$keyring"
}

# Runs an apt program on one suite only.
apt() { # SUITE ARCH COMMAND...
    local dir
    dir=$(apt_dir "$1" "$2")
    shift 2
    (cd "$dir/debs" && APT_CONFIG=$dir/apt.conf "$@")
}

# The names of packages and of all their dependencies.
with_dependencies() { # SUITE ARCH PACKAGE...
    local suite=$1 arch=$2
    shift 2
    apt "$suite" "$arch" apt-get install --simulate --no-install-recommends "$@" | awk '$1 == "Inst" { print $2 }'
}

# Downloads packages of one suite and unpacks them into a directory.
unpack() { # SUITE ARCH DIRECTORY PACKAGE...
    local suite=$1 arch=$2 into=$3 deb dir
    dir=$(apt_dir "$suite" "$arch")
    shift 3
    quietly apt "$suite" "$arch" apt-get download "$@"
    # By their full names, since the directory may contain older versions too.
    apt "$suite" "$arch" apt-cache show --no-all-versions "$@" |
        awk '$1 == "Package:" { name = $2 } $1 == "Version:" { version = $2; gsub(":", "%3a", version) }
             $1 == "Architecture:" { print name "_" version "_" $2 ".deb" }' | sort -u |
        while read -r deb; do
            dpkg -x "$dir/debs/$deb" "$into"
        done
}
