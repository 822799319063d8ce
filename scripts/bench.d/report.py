"""Tables of what was measured. Ratios are to skyclaw's row, or to the first one where that is missing."""

import re


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


def renewed(page, intro, sections, titles):
    """The text of `page` with only the parts in `sections` measured anew; each says on what machine."""
    machine, *blocks = sections
    kept = parts(page.read_text() if page.exists() else f"{intro}\n")
    for part, text in parts("\n\n".join(blocks)).items():
        head, _, rest = text.partition("\n\n")
        kept[part] = f"{head}\n\n{machine}\n\n{rest.strip()}"
    return "\n\n".join(kept[part].strip() for part in ["", *titles] if part in kept) + "\n"


def parts(text):
    """Sections by letter; what stands before the first one is under the empty one."""
    pieces = re.split(r"^(?=## ([a-z])\. )", text, flags=re.MULTILINE)
    found = dict(zip(pieces[1::2], pieces[2::2]))
    return ({"": pieces[0]} if pieces[0].strip() else {}) | found
