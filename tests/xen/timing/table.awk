# Figures to a table in Markdown, aligned, so that it can be read as it is. After read.awk.

# A median and its quartiles, in a unit of that many of the figure's. What never differs needs no quartiles.
function cell(what, who, kind, unit,    key, form, number) {
    key = what " " who " " kind
    form = unit == 1 ? "%d" : "%.1f"
    number = sprintf(form, middle(key) / unit)
    if (low[key] == high[key]) return number
    return number sprintf(" (" form "-" form ")", low[key] / unit, high[key] / unit)
}

function ratio(what, kind, other) {
    return middle(what " xmem " kind) / middle(what " " other " " kind)
}

function judged(wanted, met) {
    return wanted (met ? ": met" : ": NOT met")
}

function add(title, what, kind, unit, wanted,    nothing) {
    nothing = (what " nothing " kind) in median ? cell(what, "nothing", kind, unit) : ""
    put(title, nothing, cell(what, "xl", kind, unit), cell(what, "xmem", kind, unit),
        sprintf("%.2f", ratio(what, kind, "xl")), wanted)
}

function put(title, nothing, xl, xmem, part, wanted,    column) {
    rows++
    text[rows, 1] = title
    text[rows, 2] = nothing
    text[rows, 3] = xl
    text[rows, 4] = xmem
    text[rows, 5] = part
    text[rows, 6] = wanted
    for (column = 1; column <= 6; column++)
        if (length(text[rows, column]) > width[column]) width[column] = length(text[rows, column])
}

function add_time(title, what, kind) {
    add(title ", ms", what, kind, 1000, judged("1/5 of xl", ratio(what, kind, "xl") <= 0.2))
}

# Wanted is a fifth of xl's, and twice what doing nothing takes.
function add_time_of_set(title, what, kind,    twice) {
    twice = ratio(what, kind, "nothing")
    add(title ", ms", what, kind, 1000, judged("1/5 of xl", ratio(what, kind, "xl") <= 0.2) ", " \
        judged(sprintf("2 x nothing (%.2f)", twice), twice <= 2))
}

function add_memory(title, what) {
    add(title ", MiB", what, "memory", 1024, judged("below xl", ratio(what, "memory", "xl") < 1))
}

# Row 0 has no text.
function print_row(row, fill,    column, line, word) {
    line = "|"
    for (column = 1; column <= 6; column++) {
        word = text[row, column]
        while (length(word) < width[column]) word = word fill
        line = line " " word " |"
    }
    print line
}

END {
    put("medians (quartiles)", "nothing", "xl", "xmem", "xmem/xl", "wanted")
    changes = split("set-pv set-pv-id set-pvh set-pvh-id", change)
    split("`set` PV by name|`set` PV by domid|`set` PVH by name|`set` PVH by domid", title, "|")
    for (i = 1; i <= changes; i++) add_time_of_set(title[i] ", wall", change[i], "wall")
    for (i = 1; i <= changes; i++) add_time_of_set(title[i] ", CPU", change[i], "cpu")
    add_time("lock held, PV", "set-pv", "held")
    add_time("lock held, PVH", "set-pvh", "held")
    add_time("lock held under strace, PV", "set-pv", "held-traced")
    add_time("lock held under strace, PVH", "set-pvh", "held-traced")
    add_time("20 at once on one domain, wall", "at-once", "wall")
    add_time("`list` of 3 domains, wall", "list-3", "wall")
    add_time("`list` of 30 domains, wall", "list-30", "wall")
    add_time("`list` of 30 domains, CPU", "list-30", "cpu")
    add_memory("`set`, peak memory", "set-pv")
    add_memory("`list` of 30 domains, peak memory", "list-30")
    for (i = 1; i <= changes; i++)
        add(title[i] ", system calls", change[i], "system-calls", 1,
            judged("at most 60", middle(change[i] " xmem system-calls") <= 60))
    for (i = 1; i <= changes; i++) add(title[i] ", hypercalls", change[i], "hypercalls", 1, "close to 4")
    for (i = 1; i <= changes; i++) add(title[i] ", xenstore round trips", change[i], "round-trips", 1, "close to 4")
    add("`list` of 30 domains, system calls", "list-30", "system-calls", 1, "")
    add("`list` of 30 domains, hypercalls", "list-30", "hypercalls", 1, "")
    add("`list` of 30 domains, xenstore round trips", "list-30", "round-trips", 1, "")
    if (failed) exit 1
    print_row(1, " ")
    print_row(0, "-")
    for (i = 2; i <= rows; i++) print_row(i, " ")
}
