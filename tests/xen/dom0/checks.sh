# The task `checks`: starts the guests and runs every check_* function of /check/checks, each in a process of its own.
# What it says is read by tests/xen/run:
#   plan N | figure N WHAT | ok NAME SECONDS | not ok NAME SECONDS | skip NAME REASON | stopped: TEXT | done
#   a line that starts with "| " belongs to the check whose line follows it
#   stopped: this machine cannot go on, by no fault of what is checked
# Settings: ONLY and AMONG, patterns that names have to match, and EXCEPT, one that they must not; ROUNDS, STRIDE and
# SEED, see tests/xen/run; TIME, the seconds that one check may take.
. /check/lib.sh

names() { # FILE: its checks, in order
    sed -n 's/^\(check_[a-z0-9_]*\)().*/\1/p' "$1"
}

planned() {
    for file in /check/checks/*.sh; do
        names "$file" | grep -E -- "$ONLY" | grep -E -- "$AMONG" | grep -Ev -- "$EXCEPT" | sed "s|^|$file |"
    done
}

now() {
    cut -d ' ' -f 1 /proc/uptime
}

# Runs one check in its own process group, which is killed as a whole when its time is over.
run_one() { # FILE NAME
    setsid sh /check/one.sh "$1" "$2" >/tmp/check.log 2>&1 </dev/null &
    check=$!
    (
        sleep "$TIME"
        echo "FAILED: not done after $TIME s" >>/tmp/check.log
        kill -KILL -- -$check
    ) &
    watchdog=$!
    wait $check
    code=$?
    kill $watchdog
    return $code
}

planned >/tmp/planned
echo "plan $(grep -c . /tmp/planned)"
if ! start_guests g1 g2 >/tmp/start.log 2>&1; then
    echo "stopped: the guests did not start: $(tr '\n' ' ' </tmp/start.log)"
    exit
fi
remember g1
remember g2
echo "guests ready after $(now) s"

while read -r file name <&3; do
    begin=$(now)
    run_one "$file" "$name"
    code=$?
    seconds=$(echo "$begin $(now)" | awk '{ printf "%.1f", $2 - $1 }')
    title=$(echo "${name#check_}" | tr _ ' ')
    if died_of_emulation >/tmp/died; then
        echo "stopped: a guest has died of the emulation ($(cat /tmp/died)), in '$title' or before"
        exit
    fi
    grep '^figure ' /tmp/check.log
    case $code in
    0) echo "ok $title ($seconds s)" ;;
    77) echo "skip $title: $(tail -n 1 /tmp/check.log)" ;;
    *)
        sed 's/^/| /' /tmp/check.log
        echo "not ok $title ($seconds s)"
        ;;
    esac
done 3</tmp/planned
echo "done"
