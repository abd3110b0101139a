# The task `serve`: a host with the guests g1 and g2, to be used over ssh (boot --ssh PORT). It ends when it is powered
# off or its time limit is reached. Prints `ready` when the guests run.
. /check/lib.sh

if start_guests g1 g2 >/tmp/start.log 2>&1; then
    echo "ready"
else
    echo "abort: the guests did not start: $(cat /tmp/start.log)"
    exit 1
fi
rm -f /tmp/end
while [ ! -e /tmp/end ]; do sleep 1; done
