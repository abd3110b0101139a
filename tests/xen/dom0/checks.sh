# The task `checks`: starts the guests and runs every check_* function of /check/checks, each in its own process.
# tests/xen/run reads its output:
#   plan N | figure N WHAT | ok NAME SECONDS | not ok NAME SECONDS | skip NAME REASON | stopped: TEXT | done
#   a line that starts with "| " belongs to the check whose line follows it
#   stopped: the emulated machine cannot go on; not a result of any check
# Settings: FILES, the check files that are run whole (names without number, or `all`); EVERYWHERE=yes, also all checks
# marked `# every boot`; ONLY, a pattern that names must match; EXCEPT, one that they must not match; GUESTS, the guests
# that are started first; ROUNDS, STRIDE, SEED and WAYS, see tests/xen/run; TIME, the seconds for one check.
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

# Runs one check in its own shell. First the guests are reset to the common start, except for the last checks of a boot,
# which may have no store.
if [ $# = 2 ]; then
    . "$1"
    case $2 in
    check_store_dies_*) ;;
    *)
        # Leftovers of a failed check must not fail the next one.
        # shellcheck disable=SC2046 # words
        [ -z "$(leftovers)" ] || rm -f $(leftovers)
        # shellcheck disable=SC2086 # words
        reset_guests $GUESTS || exit 1
        ;;
    esac
    set -eu
    "$2"
    exit
fi

# Runs one check in its own process group, which is killed when its time is over.
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
read -r now _ </proc/uptime
echo "guests ready after $now s"

while read -r file name <&3; do
    read -r begin _ </proc/uptime
    run_one "$file" "$name"
    code=$?
    read -r now _ </proc/uptime
    # In hundredths, since the shell has no fractions.
    hundredths=$((${now%.*} * 100 + 1${now#*.} - ${begin%.*} * 100 - 1${begin#*.}))
    seconds=$((hundredths / 100)).$((hundredths / 10 % 10))
    title=$(echo "${name#check_}" | tr _ " ")
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
