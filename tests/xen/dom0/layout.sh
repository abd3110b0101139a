# The task `layout`: says which of xmem's functions run in the commands that people use most, see tests/xen/layout.
# What it says is read there: entered: OFFSET | abort: TEXT | done
. /check/lib.sh

# What they print and what they note does not matter, but that it is done.
entered_by() { # ARGUMENT...
    entries /check/functions $program "$@" >/tmp/out 2>/tmp/err || {
        echo "abort: $*: $(cat /tmp/out /tmp/err)"
        exit 1
    }
    grep '^entered: ' /tmp/out
}

start_guests g1 g2 >/tmp/start.log 2>&1 || {
    echo "abort: the guests did not start: $(tr '\n' ' ' </tmp/start.log)"
    exit 1
}
entered_by set g1 128M
entered_by set "$(xl domid g1)" 160M
entered_by mem-set g2 160
entered_by --quiet set g1 +16M
entered_by set g1 300M --raise-max --json
entered_by max g2 280M
entered_by set g1 300M
entered_by list
entered_by list --json
entered_by check
echo "done"
