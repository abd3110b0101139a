# Missing permissions, and hosts without Xen.

check_access_not_root() {
    needs_xmem
    before=$(numbers g1)
    expect 7 su -s /bin/sh nobody -c "$program set g1 128M"
    contains "stderr" "$err" "xmem: "
    contains "stderr" "$err" "root"
    is "numbers" "$(numbers g1)" "$before"
    is_tidy
}

# In a root directory with the program alone: no devices, no socket, no libxl.
check_access_no_xen_at_all() {
    needs_xmem
    mkdir -p /tmp/empty
    cp $program /tmp/empty/xmem
    expect 7 chroot /tmp/empty /xmem set g1 128M
    contains "stderr" "$err" "xmem: "
    contains "stderr" "$err" "--host sim"
    rm -rf /tmp/empty
}

# The hypervisor without xenstored: neither a socket nor the device.
check_access_no_store_at_all() {
    needs_xmem
    before=$(numbers g1)
    expect 7 env XENSTORED_PATH=/run/nosuch/socket $program set g1 128M
    contains "stderr" "$err" "/run/nosuch/socket"
    contains "stderr" "$err" "hint: "
    is "numbers" "$(numbers g1)" "$before"
    is_tidy
}

check_access_state_directory_is_missing() {
    needs_xmem
    before=$(numbers g1)
    mv $state_dir $state_dir.away
    trap 'mv $state_dir.away $state_dir' EXIT
    expect 7 xmem set g1 128M
    contains "stderr" "$err" "$state_dir"
    is "numbers" "$(numbers g1)" "$before"
}
