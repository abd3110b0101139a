# The task `checks`: starts the guests and runs every check_* function of /check/checks, each in a process of its own.
# tests/xen/run reads its output:
#   plan N | figure N WHAT | ok NAME SECONDS | not ok NAME SECONDS | skip NAME REASON | stopped: TEXT | done
#   a line that starts with "| " belongs to the check whose line follows it
#   stopped: the emulated machine cannot go on; not a result of any check
# Settings: FILES, the check files that are run whole (names without number, or `all`); EVERYWHERE=yes, all checks besides
# that are marked `# every boot`; ONLY, a pattern that names have to match; EXCEPT, one that they must not; GUESTS, which
# guests are started first; ROUNDS, STRIDE, SEED and WAYS, see tests/xen/run; TIME, the seconds that one check may take.
. /check/lib.sh

planned() {
    for file in /check/checks/*.sh; do
        area=${file##*/[0-9][0-9]-}
        case " $FILES " in
        *" ${area%.sh} "* | *" all "*) pattern='.*' ;;
        *) [ "$EVERYWHERE" = yes ] || continue && pattern='.*# every boot' ;;
        esac
        sed -n "s/^\\(check_[a-z0-9_]*\\)() {$pattern\$/\\1/p" "$file" | grep -E -- "$ONLY" | grep -Ev -- "$EXCEPT" | sed "s|^|$file |"
    done
}

now() {
    cut -d ' ' -f 1 /proc/uptime
}

# One check, in a shell of its own. The guests are first brought to where every check starts from, but for the last
# checks of a boot, which may find no store any more.
if [ $# = 2 ]; then
    . "$1"
    case $2 in
    check_store_dies_*) ;;
    *)
        # What a check that failed has left is not the next one's fault.
        leftovers | xargs -r rm -f
        # shellcheck disable=SC2086 # words
        reset_guests $GUESTS || exit 1
        ;;
    esac
    set -eu
    "$2"
    exit
fi

# Runs one check in its own process group, which is killed as a whole when its time is over.
run_one() { # FILE NAME
    setsid sh /check/checks.sh "$1" "$2" >/tmp/check.log 2>&1 </dev/null &
    check=$!
    (
        sleep "$TIME"
        echo "FAILED: not done after $TIME s" >>/tmp/check.log
        kill -KILL -$check
    ) &
    watchdog=$!
    wait $check
    code=$?
    kill $watchdog
    return $code
}

planned >/tmp/planned
echo "plan $(grep -c . /tmp/planned)"
# shellcheck disable=SC2086 # words
if ! start_guests $GUESTS >/tmp/start.log 2>&1; then
    echo "stopped: the guests did not start: $(tr '\n' ' ' </tmp/start.log)"
    exit
fi
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
