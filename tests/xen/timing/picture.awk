# Figures to an SVG: a bar for each median, a line from quartile to quartile. Its own background makes it look the same
# on a light page and on a dark one. After read.awk.

function text(x, y, colour, words, more) {
    body = body sprintf("<text x=\"%d\" y=\"%.1f\" fill=\"%s\"%s>%s</text>\n", x, y, colour, more, words)
}

function path(lines, colour, more) {
    body = body sprintf("<path d=\"%s\" stroke=\"%s\"%s/>\n", lines, colour, more)
}

# From quartile to quartile, with ends, and dark at the edges, since it overlaps the end of a bar.
function spread(from, to, y,    lines) {
    lines = sprintf("M%.1f %.1fH%.1fM%.1f %.1fv6M%.1f %.1fv6", from, y, to, from, y - 3, to, y - 3)
    path(lines, ground, " stroke-width=\"4\"")
    path(lines, paper, " stroke-width=\"1.5\"")
}

# The bars of a group, on its own scale, which the highest quartile fills.
function group(title, what, kind, unit, name,    i, key, most, scale) {
    most = 0
    for (i = 1; i <= 3; i++) {
        key = what " " who[i] " " kind
        if (key in high && high[key] > most) most = high[key]
    }
    scale = span / most
    top += gap
    text(16, top + bar - 3, paper, title, "")
    for (i = 1; i <= 3; i++) {
        key = what " " who[i] " " kind
        if (who[i] == "nothing" && !(key in median)) continue
        body = body sprintf("<rect x=\"%d\" y=\"%.1f\" width=\"%.1f\" height=\"%d\" fill=\"%s\"/>\n", left, top + 1,
            scale * middle(key), bar - 2, colour[who[i]])
        if (low[key] != high[key]) spread(left + scale * low[key], left + scale * high[key], top + bar / 2)
        text(1064, top + bar - 3, colour[who[i]], sprintf("%.1f %s", middle(key) / unit, name), " text-anchor=\"end\"")
        top += bar
    }
}

function key_entry(x, who, words) {
    body = body sprintf("<rect x=\"%d\" y=\"%d\" width=\"12\" height=\"12\" fill=\"%s\"/>\n", x, 18, colour[who])
    text(x + 20, 29, colour[who], words, "")
}

END {
    left = 270
    span = 690
    bar = 15
    gap = 17
    paper = "#d8dee9"
    ground = "#1d1f21"
    split("xl xmem nothing", who)
    colour["xl"] = "#8fa1b3"
    colour["xmem"] = "#a3be8c"
    colour["nothing"] = "#b48ead"

    key_entry(16, "xl", "xl")
    key_entry(90, "xmem", "xmem")
    key_entry(180, "nothing", "a program that does nothing")
    spread(450, 480, 24)
    text(490, 29, paper, "quartiles")
    top = 34
    group("set a PV guest, wall time", "set-pv", "wall", 1000, "ms")
    group("set a PV guest, CPU time", "set-pv", "cpu", 1000, "ms")
    group("set a PVH guest, wall time", "set-pvh", "wall", 1000, "ms")
    group("set a PVH guest, CPU time", "set-pvh", "cpu", 1000, "ms")
    group("lock held", "set-pv", "held", 1000, "ms")
    group("20 at once on one domain", "at-once", "wall", 1000, "ms")
    group("list 3 domains", "list-3", "wall", 1000, "ms")
    group("list 30 domains", "list-30", "wall", 1000, "ms")
    group("its part in xenstored's CPU", "list-30", "store-cpu", 1000, "ms")
    group("list 100 domains", "list-100", "wall", 1000, "ms")
    group("xl list -l beside list: 30", "list-30-long", "wall", 1000, "ms")
    group("peak memory of a set", "set-pv", "memory", 1024, "MiB")
    if (failed) exit 1
    height = top + gap
    printf "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"1080\" height=\"%d\" viewBox=\"0 0 1080 %d\" role=\"img\" aria-label=\"%s\">\n",
        height, height, "what xl, xmem and a program that does nothing take"
    printf "<rect width=\"1080\" height=\"%d\" rx=\"6\" fill=\"%s\"/>\n", height, ground
    print "<g font-family=\"DejaVu Sans Mono, Menlo, Consolas, monospace\" font-size=\"13\">"
    printf "%s</g></svg>\n", body
}
