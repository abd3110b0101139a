# Figures to an aligned table in Markdown. After read.awk.

# A median and its quartiles, in a unit of that many of the figure's. A constant figure has no quartiles.
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

function add(title, what, kind, unit,    nothing) {
    nothing = (what " nothing " kind) in median ? cell(what, "nothing", kind, unit) : ""
    put(title, nothing, cell(what, "xl", kind, unit), cell(what, "xmem", kind, unit),
        sprintf("%.2f", ratio(what, kind, "xl")))
}

function put(title, nothing, xl, xmem, part,    column) {
    rows++
    text[rows, 1] = title
    text[rows, 2] = nothing
    text[rows, 3] = xl
    text[rows, 4] = xmem
    text[rows, 5] = part
    for (column = 1; column <= columns; column++)
        if (length(text[rows, column]) > width[column]) width[column] = length(text[rows, column])
}

function add_time(title, what, kind) {
    add(title ", ms", what, kind, 1000)
}

function add_memory(title, what) {
    add(title ", MiB", what, "memory", 1024)
}

# The cost of a list, for the program and for xenstored.
function add_list(title, what) {
    add_time(title ", wall", what, "wall")
    add_time(title ", CPU", what, "cpu")
    add_time(title ", xenstored's CPU", what, "store-cpu")
}

# Row 0 has no text.
function print_row(row, fill,    column, line, word) {
    line = "|"
    for (column = 1; column <= columns; column++) {
        word = text[row, column]
        while (length(word) < width[column]) word = word fill
        line = line " " word " |"
    }
    print line
}

END {
    columns = 5
    put("medians (quartiles)", "nothing", "xl", "xmem", "xmem/xl")
    changes = split("set-pv set-pv-id set-pvh set-pvh-id", change)
    split("`set` PV by name|`set` PV by domid|`set` PVH by name|`set` PVH by domid", title, "|")
    for (i = 1; i <= changes; i++) add_time(title[i] ", wall", change[i], "wall")
    for (i = 1; i <= changes; i++) add_time(title[i] ", CPU", change[i], "cpu")
    add_time("lock held, PV", "set-pv", "held")
    add_time("lock held, PVH", "set-pvh", "held")
    add_time("20 at once on one domain, wall", "at-once", "wall")
    add_time("`list` of 3 domains, wall", "list-3", "wall")
    add_list("`list` of 30 domains", "list-30")
    add_list("`list` of 100 domains", "list-100")
    add_list("`list` of 30 beside `xl list -l`", "list-30-long")
    add_list("`list` of 100 beside `xl list -l`", "list-100-long")
    if ("watch-30 xmem cpu" in median) {
        add_time("`watch` of 30 beside `xl list`, CPU for each refresh", "watch-30", "cpu")
        add_time("`watch` of 30 beside `xl list`, xenstored's CPU", "watch-30", "store-cpu")
        add_time("`watch` of 30 beside `xentop`, CPU for each refresh", "watch-30-xentop", "cpu")
        add_time("`watch` of 30 beside `xentop`, xenstored's CPU", "watch-30-xentop", "store-cpu")
    }
    add_time("another client's wait during `list` of 30, mean", "list-30", "other-waits")
    add_time("another client's wait during `list` of 100, mean", "list-100", "other-waits")
    add_memory("`set`, peak memory", "set-pv")
    add_memory("`list` of 30 domains, peak memory", "list-30")
    for (i = 1; i <= changes; i++) add(title[i] ", system calls", change[i], "system-calls", 1)
    for (i = 1; i <= changes; i++) add(title[i] ", hypercalls", change[i], "hypercalls", 1)
    for (i = 1; i <= changes; i++) add(title[i] ", xenstore round trips", change[i], "round-trips", 1)
    split("list-3 list-30", list)
    for (i = 1; i <= 2; i++) {
        number = substr(list[i], 6)
        add("`list` of " number " domains, system calls", list[i], "system-calls", 1)
        add("`list` of " number " domains, hypercalls", list[i], "hypercalls", 1)
        add("`list` of " number " domains, xenstore round trips", list[i], "round-trips", 1)
    }
    if (failed) exit 1
    print_row(1, " ")
    print_row(0, "-")
    for (i = 2; i <= rows; i++) print_row(i, " ")
}
