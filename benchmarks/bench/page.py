"""docs/benchmarks.md and its plots from the results of one or more machines."""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.drawing import Bar, bars, lines
from bench.jobs import JOBS, Job
from bench.judge import Record, Verdict, judge
from bench.machine import best_rate
from bench.run import BUSY
from bench.sides import OURS, REPORT, SIDES

HEAD = """# Side by side with peers

Made by `make bench`; nothing here is written by hand. The same job is done by unfreeze and by its peers in alternation,
each run in a fresh process, with the same rows, epochs, rows per update and learning weights.

- **job**: seconds in the process after its imports: median (range). unfreeze's is the whole `fit`: auditing the data,
  tokenizing, loading, training, validation after every epoch, both scores, saving, and a fresh process that reloads the
  model and reproduces its predictions. A peer's is tokenizing, loading, training, and one score on validation and test;
  it saves and checks nothing unless its defaults do. Tables are read before the clock starts, images after, for all.
  The report that unfreeze writes when the job is finished is not in it, since no peer makes one: its seconds
  stand under "Where unfreeze's time goes".
- **with start-up**: the whole process, imports included. **training**: training alone, for unfreeze with the frozen
  features and the validation after every epoch.
- **memory**: the most that the process and its children (loaders, the reloading process) held at a time; what they
  share counts once. **per second**: tokens (without padding) or images that training passed, epochs × rows.
- **times**: a peer's job seconds over unfreeze's, medians; above 1 unfreeze is faster. In brackets training alone.
- **verdict**: a row is VOID if the work was not equal, or if unfreeze's mean over seeds on validation or test is worse
  by more than 2 pooled standard deviations + 1 point. unfreeze takes its best epoch on validation, peers their last;
  the test figures are free of that. Where unfreeze is better by more, it is said. Fewer than three seeds: not judged.
- Learning weights are counted in each process. The default `Trainer` has BERT's pooler in its head, which unfreeze's
  head does not have; it learns wherever the head does, and is left out of the count.
- Pre-trained dropout stays as it is for all. What is not given to a side is its default."""


def write(files: Sequence[Path], page: Path) -> None:
    """The page and, beside it, a folder with its plots."""
    machines = [json.loads(file.read_text()) for file in files]
    plots = page.parent / page.stem
    plots.mkdir(parents=True, exist_ok=True)
    sections = [HEAD, _sides()]
    for found in machines:
        sections += _machine(found, plots)
    page.write_text("\n\n".join(section for section in sections if section) + "\n")


def _sides() -> str:
    rows = "\n".join(f"- **{side.title}**: {side.what}" for side in SIDES.values())
    return f"## Who\n\n{rows}"


def _machine(found: dict[str, Any], plots: Path) -> list[str]:
    name = found["machine"]["name"]
    runs = by_job(found["records"])
    measured = [(job, runs[job.key]) for job in JOBS if job.key in runs and _ok(runs[job.key].get(OURS.key, []))]
    plot = f"{name}.svg"
    usual = [(job, sides) for job, sides in measured if job.data != "generated"]
    (plots / plot).write_text(bars("Seconds of the whole job, median and range", dict(map(_bars, usual))))
    parts = [_about(found), f"![Seconds of the whole job]({plots.name}/{plot})"]
    parts += [_job(job, sides) for job, sides in usual]
    parts += _growth([(job, sides) for job, sides in measured if job.data == "generated"], plots, name)
    parts.append(_floors(found, measured))
    parts.append(_where(measured))
    parts.append(_left_out(found, runs))
    return parts


def by_job(records: Iterable[Record]) -> dict[str, dict[str, list[Record]]]:
    """Job to side to runs."""
    found: dict[str, dict[str, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for record in sorted(records, key=lambda record: record["seed"]):
        found[record["job"]][record["side"]].append(record)
    return found


def _ok(records: Iterable[Record]) -> list[Record]:
    """Runs that ended well; if sizes differ, since some were measured anew, those of the last one's."""
    good = [record for record in records if record["status"] == "ok"]
    return [record for record in good if record["asked"] == good[-1]["asked"]]


def _about(found: dict[str, Any]) -> str:
    machine, records = found["machine"], found["records"]
    rates = "; ".join(
        f"{device}: {of['float32'] / 1e12:.2f} in float32, {of['bf16'] / 1e12:.2f} in bf16"
        for device, of in machine["rates"].items()
    )
    shares = [record["others"] for record in records if record.get("others") is not None]
    busy = [share for share in shares if share > BUSY]
    quick = any(record["asked"]["quick"] for record in records)
    commits = sorted({record["commit"] for record in records})
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    lines_ = [
        f"## {machine['name']}",
        "",
        f"- {machine['cpu']}, {machine['cores']} cores, {machine['memory'] / 2**30:.0f} GiB; torch uses "
        f"{machine['threads']} threads; {', '.join(machine['flags']) or 'no vector extensions that matter here'}",
        f"- GPU: {machine['gpu'] or 'none'}",
        f"- matrix products, measured, in TFLOP/s: {rates}",
        f"- {machine['system']}, Python {machine['python']}; {versions}",
        f"- {found['written']}, commit {', '.join(commits)}",
    ]
    if busy:
        lines_.append(
            f"- **Other work took more than {BUSY:.0%} of the processor time (up to {max(busy):.0%}) during "
            f"{len(busy)} of {len(shares)} runs: take times with care.**"
        )
    if quick:
        lines_.append("- **Quick mode: tiny sizes, to see that everything runs. No figure here means anything.**")
    return "\n".join(lines_)


def _job(job: Job, sides: Mapping[str, list[Record]]) -> str:
    ours = _ok(sides[OURS.key])
    asked, unit = ours[0]["asked"], ours[0]["amount"]["unit"]
    what = f"{asked['rows']:,} rows"
    if job.data != "prediction":
        what += f", {asked['epochs']} epochs, {asked['batch']} rows per update; {ours[0]['trainable']:,} weights learn"
    call = "`unfreeze.sweep`" if job.method == "sweep" else f'`method="{job.method}"`'
    lines_ = [
        f"### {job.key}. {job.title[0].upper()}{job.title[1:]}",
        "",
        f"{what}. unfreeze: {call}." if job.data != "prediction" else f"{what}.",
        "",
        "| | seeds | job, s | with start-up, s | training, s | memory, MiB "
        f"| {unit} per second | validation | test | times | verdict |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for key in (OURS.key, *job.peers):
        theirs = _ok(sides.get(key, []))
        if theirs:
            verdict = Verdict() if key == OURS.key else judge(ours, theirs)
            lines_.append(_row(key, ours, theirs, verdict))
    return "\n".join(lines_)


def _row(key: str, ours: list[Record], theirs: list[Record], verdict: Verdict) -> str:
    mine = key == OURS.key
    cells = [
        f"**{SIDES[key].title}**" if mine else SIDES[key].title,
        str(len(theirs)),
        spread(theirs, lambda record: record["seconds"], "{:.1f}"),
        spread(theirs, lambda record: record["total_seconds"], "{:.1f}"),
        spread(theirs, lambda record: record["train_seconds"], "{:.1f}"),
        spread(theirs, lambda record: record["peak"] / 2**20, "{:.0f}"),
        spread(theirs, per_second, "{:,.0f}"),
        spread(theirs, lambda record: _percent(record["validation"]), "{:.1f}"),
        spread(theirs, lambda record: _percent(record["test"]), "{:.1f}"),
        "" if mine else times(ours, theirs, verdict),
        "" if mine else str(verdict),
    ]
    return "| " + " | ".join(cells) + " |"


def spread(records: Sequence[Record], take: Callable[[Record], float | None], form: str) -> str:
    """ "12.3 (11.9–12.8)": median and range; one value alone; nothing where there is none."""
    values = [value for record in records if (value := take(record)) is not None]
    if not values:
        return ""
    low, middle, high = (form.format(value) for value in (min(values), statistics.median(values), max(values)))
    return middle if low == high else f"{middle} ({low}–{high})"


def per_second(record: Record) -> float | None:
    """Tokens or images per second of training (of the whole job where nothing is trained); None without epochs."""
    count = record["amount"]["count"]
    if record["train_seconds"] is None:
        return float(count / record["seconds"])
    return None if record["epochs"] is None else float(count * record["epochs"] / record["train_seconds"])


def times(ours: Sequence[Record], theirs: Sequence[Record], verdict: Verdict) -> str:
    """How many times unfreeze's seconds the peer takes; nothing where the comparison is void."""
    if verdict.void:
        return "–"
    whole = _median(theirs, "seconds") / _median(ours, "seconds")
    if ours[0]["train_seconds"] is None or theirs[0]["train_seconds"] is None:
        return f"**{whole:.2f}**"
    return f"**{whole:.2f}** ({_median(theirs, 'train_seconds') / _median(ours, 'train_seconds'):.2f})"


def _median(records: Sequence[Record], key: str) -> float:
    return float(statistics.median(record[key] for record in records))


def _percent(value: float | None) -> float | None:
    return None if value is None else 100 * value


def _bars(pair: tuple[Job, Mapping[str, list[Record]]]) -> tuple[str, list[Bar]]:
    job, sides = pair
    ours = _ok(sides[OURS.key])
    found = []
    for key in (OURS.key, *job.peers):
        runs = _ok(sides.get(key, []))
        if runs:
            values = [record["seconds"] for record in runs]
            void = key != OURS.key and bool(judge(ours, runs).void)
            middle = statistics.median(values)
            label = f"{middle:.1f} s{' (void)' if void else ''}"
            found.append(Bar(SIDES[key].title, middle, min(values), max(values), label, key == OURS.key, void))
    return f"{job.key}. {job.title}", found


def _growth(measured: list[tuple[Job, Mapping[str, list[Record]]]], plots: Path, name: str) -> list[str]:
    if not measured:
        return []
    curves: dict[str, dict[str, list[tuple[float, float]]]] = {"seconds": {}, "memory": {}}
    lines_ = [
        "### 10. Cost against growth",
        "",
        "A head on text, 3 epochs, on rows made from halves of real sentences of the same intent. A further row costs "
        "what the line's increase over the one above says.",
        "",
        "| | rows | job, s | ms per row | ms per further row | memory, MiB | KiB per further row | test |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for key in SIDES:
        before: tuple[int, float, float] | None = None
        for _, sides in measured:
            runs = _ok(sides.get(key, []))
            if not runs:
                continue
            rows = runs[0]["asked"]["rows"]
            seconds, peak = _median(runs, "seconds"), _median(runs, "peak")
            for curve, value in (("seconds", seconds), ("memory", peak / 2**20)):
                curves[curve].setdefault(SIDES[key].title, []).append((rows, value))
            lines_.append(_growth_row(SIDES[key].title, runs, (rows, seconds, peak), before))
            before = (rows, seconds, peak)
    (plots / f"{name}-time.svg").write_text(
        lines("Seconds of the whole job against rows", "training rows", "seconds", curves["seconds"])
    )
    (plots / f"{name}-memory.svg").write_text(
        lines("Peak memory against rows", "training rows", "MiB", curves["memory"])
    )
    pictures = f"![Seconds against rows]({plots.name}/{name}-time.svg)\n![Memory]({plots.name}/{name}-memory.svg)"
    return ["\n".join(lines_), pictures]


def _growth_row(
    title: str, runs: list[Record], here: tuple[int, float, float], before: tuple[int, float, float] | None
) -> str:
    rows, seconds, peak = here
    more_time = more_memory = ""
    if before and rows > before[0]:
        more_time = f"{1000 * (seconds - before[1]) / (rows - before[0]):.3f}"
        more_memory = f"{(peak - before[2]) / 1024 / (rows - before[0]):.2f}"
    cells = [title, f"{rows:,}", spread(runs, lambda record: record["seconds"], "{:.1f}")]
    cells += [f"{1000 * seconds / rows:.2f}", more_time]
    cells += [spread(runs, lambda record: record["peak"] / 2**20, "{:.0f}"), more_memory]
    return "| " + " | ".join([*cells, spread(runs, lambda record: _percent(record["test"]), "{:.1f}")]) + " |"


def _floors(found: dict[str, Any], measured: Sequence[tuple[Job, Mapping[str, list[Record]]]]) -> str:
    rate = best_rate(found["machine"])
    lines_ = [
        "### How far from the floor",
        "",
        "The operations of unfreeze's plan, counted by torch (frozen layers once per row, learning ones three times in "
        "every epoch, for forward and backward, and frozen ones above one that learns twice; no padding), over the "
        f"machine's best measured matrix rate "
        f"({rate / 1e12:.2f} TFLOP/s). Validation, tokenizing and everything else come on top.",
        "",
        "| job | GFLOP | of them frozen | floor, s | training, s | times the floor | whole job, s |",
        "|---|---|---|---|---|---|---|",
    ]
    count = len(lines_)
    for job, sides in measured:
        counted, ours = found["floors"].get(job.key, {}), _ok(sides[OURS.key])
        if "flops" in counted:
            seconds, training = counted["flops"] / rate, _median(ours, "train_seconds")
            frozen = counted["frozen"] / counted["flops"]
            cells = [f"{job.key}. {job.title}", f"{counted['flops'] / 1e9:,.0f}", f"{frozen:.0%}", f"{seconds:.2f}"]
            cells += [f"{training:.1f}", f"{training / seconds:.1f}", f"{_median(ours, 'seconds'):.1f}"]
            lines_.append("| " + " | ".join(cells) + " |")
        elif "error" in counted:
            lines_.append(f"| {job.key}. {job.title} | not counted: {_cell(counted['error'])} | | | | | |")
    return "\n".join(lines_) if len(lines_) > count else ""


def _where(measured: Sequence[tuple[Job, Mapping[str, list[Record]]]]) -> str:
    """Where the time of unfreeze's whole job goes."""
    runs = [(job, _ok(sides[OURS.key])) for job, sides in measured]
    names = list(dict.fromkeys(name for _, records in runs for record in records for name in record["parts"]))
    if not names:
        return ""
    heads = " | ".join(name.replace("|", " ") for name in names)
    said = (
        "Median seconds by stage, the report's beside those of the whole process without it, and the kinds of evidence "
        "that a report lacks for want of time (in any of the runs)."
    )
    lines_ = ["### Where unfreeze's time goes", "", said, "", f"| job | {heads} | report beside the rest | it lacks |"]
    lines_.append("|---" * (len(names) + 3) + "|")
    for job, records in runs:
        if records[0]["parts"]:
            cells = [f"{statistics.median(record['parts'].get(name, 0.0) for record in records):.2f}" for name in names]
            share = statistics.median(_share_of_report(record) for record in records)
            lacks = ", ".join(sorted({kind for record in records for kind in record.get("left_out", ["–"])}))
            lines_.append(f"| {job.key}. {job.title} | " + " | ".join([*cells, f"{share:.1%}", lacks]) + " |")
    return "\n".join(lines_)


def _share_of_report(record: Record) -> float:
    return float(record["parts"].get(REPORT, 0.0) / record["total_seconds"])


def _left_out(found: dict[str, Any], runs: Mapping[str, Mapping[str, list[Record]]]) -> str:
    said: dict[str, list[str]] = defaultdict(list)
    for job in JOBS:
        if job.key in found["skipped"]:
            said[f"not run: {found['skipped'][job.key]}"].append(f"{job.key}. {job.title}")
        for key, records in runs.get(job.key, {}).items():
            for record in records:
                where = f"{SIDES[key].title}, job {job.key}"
                if record["status"] != "ok" and where not in said[why := _why(record)]:
                    said[why].append(where)
    items = [f"- {', '.join(where)}: {why}" for why, where in said.items() if where]
    return "\n".join(["### Left out", "", *items]) if items else ""


def _why(record: Record) -> str:
    kind = "cannot be used here" if record["status"] == "unavailable" else "failed"
    return f"{kind}: `{_cell(record['error'])}`"


def _cell(text: str) -> str:
    return text.replace("|", "/").replace("`", "'").replace("\n", " ")
