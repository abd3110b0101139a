# The vocabulary of checks. Sourced. A check fails by exiting with a code other than 0; its output is then shown.

fail() {
    echo "FAILED: $*"
    exit 1
}

skip() {
    echo "$*"
    exit 77
}

# A number that is summed up over all boots and printed at the end.
figure() { # NUMBER WHAT
    echo "figure $1 $2"
}

# Runs a command that must exit with a given code. Its output is kept in $out and $err, and printed.
expect() { # CODE COMMAND...
    ex_want=$1
    shift
    ex_got=0
    "$@" >/tmp/out 2>/tmp/err </dev/null || ex_got=$?
    out=$(cat /tmp/out) err=$(cat /tmp/err)
    echo "\$ $*"
    [ -z "$out" ] || echo "  out: $out"
    [ -z "$err" ] || echo "  err: $err"
    echo "  exit code $ex_got"
    [ "$ex_got" = "$ex_want" ] || fail "'$*' left with $ex_got, not $ex_want"
}

is() { # WHAT GOT WANT
    [ "$2" = "$3" ] || fail "$1 is '$2', not '$3'"
}

contains() { # WHAT TEXT PART
    case $2 in
    *"$3"*) ;;
    *) fail "$1 does not say '$3': $2" ;;
    esac
}

# A field of the JSON object in $out: json changed; json old target_kib
json() {
    if [ $# = 1 ]; then
        echo "$out" | tr -d ' \n' | sed 's/"\(old\|new\)":{[^}]*}//g' | sed -n "s/.*\"$1\":\"\{0,1\}\([^,\"}]*\).*/\1/p"
    else
        echo "$out" | tr -d ' \n' | sed -n "s/.*\"$1\":{[^}]*\"$2\":\([^,}]*\).*/\1/p"
    fi
}

is_in_step() { # DOM
    in_step "$1" || fail "$1 is out of step"
}

# No lock and no intent record is left.
is_tidy() {
    it_left=$(leftovers)
    [ -z "$it_left" ] || fail "left behind: $it_left"
}

nothing_left() {
    [ -z "$(leftovers)" ]
}

# Holds a domain's lock in one process, whose pid goes to $holder (-o: without a child).
hold() { # DOM SECONDS
    ho_file=$(lock_file "$1")
    flock -o "$ho_file" sleep "$2" &
    holder=$!
    eventually 30 grep -q "FLOCK.* $holder " /proc/locks || fail "this check could not take the lock"
}

# Ends that process as libxl would: the file is removed first.
release() {
    rm -f "$ho_file"
    kill $holder
    wait $holder 2>/dev/null || true
    holder=
}

# Whether the xmem that was started with -v and writes to /tmp/out waits for a lock.
xmem_waits() {
    grep -q "waiting for the domain's lock" /tmp/out
}

# Whether a process waits in the kernel's queue for a lock.
a_process_waits() {
    grep -q -- '-> FLOCK' /proc/locks
}

# The guest's balloon driver brings its memory to the target (give or take some pages).
follows() { # DOM KIB
    fo_most=$(($2 + 1024)) fo_least=$(($2 - 2048))
    eventually 60 holds_between "$1" $fo_least $fo_most ||
        fail "$1 holds $(current "$1") KiB after a minute, not about $2"
}

holds_between() { # DOM LEAST MOST
    hb_now=$(current "$1")
    [ "$hb_now" -ge "$2" ] && [ "$hb_now" -le "$3" ]
}

# `xmem list` shows the domain in this state.
is_state() { # DOM-OR-DOMID STATE
    expect 0 xmem list --json "$1"
    is "state of $1" "$(json state | head -n 1)" "$2"
}

x86_only() { # REASON
    [ "$ARCH" = x86 ] || skip "$1"
}

needs_xmem() {
    [ -x $program ] || skip "no xmem in this boot"
}
