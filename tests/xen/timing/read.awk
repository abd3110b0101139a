# Reads figures (see figures.awk), and fails if one is missing.

{
    key = $1 " " $2 " " $3
    low[key] = $5
    median[key] = $6
    high[key] = $7
}

function middle(key) {
    if (!(key in median)) {
        print "bench: no figure for " key >"/dev/stderr"
        failed = 1
        exit 1
    }
    return median[key]
}
