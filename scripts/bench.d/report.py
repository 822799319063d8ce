"""Tables of what was measured. Ratios are to skyclaw's row, or to the first one where that is missing."""


def table(rows, extra=()):
    """`rows` are (name, best record, runs); a record without `wall` says why in `failed`."""
    good = [row for row in rows if "wall" in row[1]]
    base = next((row for row in good if row[0].startswith("skyclaw")), good[0] if good else None)
    heads = ["client", "wall s", "ratio", "client CPU s", "ratio", "peak RSS MiB", "server CPU s", *extra, "runs"]
    lines = ["| " + " | ".join(heads) + " |", "|---|" + "--:|" * (len(heads) - 1)]
    for name, best, runs in rows:
        if "wall" not in best:
            lines.append(f"| {name} | {best['failed']} |" + " |" * (len(heads) - 2))
            continue
        cells = [
            name, f"{best['wall']:.2f}", ratio(best, base[1], "wall"), f"{best['cpu']:.2f}", ratio(best, base[1], "cpu"),
            f"{best['rss_mib']:.0f}", f"{best['server_cpu']:.2f}", *(f"{best[key]:.2f}" for key in extra), str(runs),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def ratio(best, base, key):
    return f"{best[key] / base[key]:.2f}" if base[key] else "–"
