# Samples (WHAT WHO KIND NUMBER, sorted, numbers ascending within each) to figures: WHAT WHO KIND COUNT QUARTILE MEDIAN QUARTILE

function quantile(part,    at, below) {
    at = 1 + (n - 1) * part
    below = int(at)
    return below == n ? number[n] : number[below] + (at - below) * (number[below + 1] - number[below])
}

function print_figure() {
    if (n) print last, n, quantile(0.25), quantile(0.5), quantile(0.75)
    n = 0
}

{
    key = $1 " " $2 " " $3
    if (key != last) print_figure()
    last = key
    number[++n] = $4
}

END { print_figure() }
